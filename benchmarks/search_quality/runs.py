"""One run: a method on a task, with a seed and a number of workers."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass

from benchmarks.search_quality import baselines, tasks
from benchmarks.search_quality.peer import Setting
from benchmarks.search_quality.task import Task

from tunefleet_master.simulation.fleet import Fleet, Limit
from tunefleet_master.simulation.tuner import Assignment, Directive, Tuner


@dataclass(frozen=True)
class Plan:
    """The plan of one run.

    Attributes:
        method: who chooses.
        task: on what.
        n_workers: how many trials are in flight.
        seed: of the method, and of the task's instance.
        amount: how many evaluations there are in all; on learning curves, how many full trainings the work would
            have been enough for.
    """

    method: str
    task: str
    n_workers: int
    seed: int
    amount: int

    @property
    def key(self) -> str:
        """The cache key: equal for runs with equal results."""
        return json.dumps({**asdict(self), "release": baselines.release(self.method)}, sort_keys=True)


@dataclass(frozen=True)
class Run:
    """The result of one run.

    Attributes:
        regrets: the normalised regret of the best value after each of the plan's amount; 1 while nothing is known.
        n_asked: how many proposals there were.
        cpu_s: CPU seconds of the method, for all its proposals and all results that it took in.
    """

    regrets: list[float]
    n_asked: int
    cpu_s: float


class Timed(Tuner):
    """A tuner that counts its proposals and CPU time."""

    def __init__(self, tuner: Tuner) -> None:
        self._tuner = tuner
        self.n_asked = 0
        self.cpu_s = 0.0

    def assign(self, *, may_begin: bool) -> Assignment | None:
        """Delegate to the tuner, and measure its CPU time."""
        began = time.process_time()
        assignment = self._tuner.assign(may_begin=may_begin)
        self.cpu_s += time.process_time() - began
        self.n_asked += assignment is not None
        return assignment

    def report(self, trial: int, step: int, *, value: float) -> Directive:
        """Delegate to the tuner, and measure its CPU time."""
        began = time.process_time()
        directive = self._tuner.report(trial, step, value=value)
        self.cpu_s += time.process_time() - began
        return directive

    def end(self, trial: int, step: int, *, value: float) -> None:
        """Delegate to the tuner, and measure its CPU time."""
        began = time.process_time()
        self._tuner.end(trial, step, value=value)
        self.cpu_s += time.process_time() - began


def run(plan: Plan) -> Run:
    """Simulate the run."""
    task = tasks.load(plan.task, seed=plan.seed)
    n_steps = task.train(task.space.from_unit(dict.fromkeys(task.space.names, 0.5))).steps[-1]
    setting = Setting(plan.seed, plan.amount if task.full_s is None else None, n_steps)
    tuner = Timed(baselines.build(plan.method, task.space, setting=setting))
    fleet = Fleet(tuner, task.train, plan.n_workers)
    regrets = _evaluated(fleet, task, plan.amount) if task.full_s is None else _worked(fleet, task, plan.amount)
    return Run(regrets, tuner.n_asked, tuner.cpu_s)


def _evaluated(fleet: Fleet, task: Task, amount: int) -> list[float]:
    """After each evaluation, in the order in which they end."""
    regrets = [task.regret(sight.best) for sight in fleet.run(Limit(trials=amount))]
    # A sampler that has no more stays where it is.
    return regrets + regrets[-1:] * (amount - len(regrets))


def _worked(fleet: Fleet, task: Task, amount: int) -> list[float]:
    """After the work of each full training; what a worker is in the middle of is not known yet."""
    full_s = task.full_s or math.inf
    regrets = [1.0] * amount
    for sight in fleet.run(Limit(work_s=amount * full_s)):
        first = math.ceil(sight.work_s / full_s)
        if math.isfinite(sight.best) and first <= amount:
            regrets[first - 1 :] = [task.regret(sight.best)] * (amount - first + 1)
    return regrets

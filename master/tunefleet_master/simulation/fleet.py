"""The simulation loop: workers that train in virtual time, and the tuner that assigns their work."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from tunefleet_master.simulation.training_run import Trainer, TrainingRun
from tunefleet_master.simulation.tuner import Assignment, Directive, Tuner


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value at the time at which it becomes known.

    Attributes:
        at_s: virtual seconds since the study began.
        work_s: the training time of all workers until then, without reports in progress.
        trial: the trial that reported it.
        step: the number of its steps run.
        value: in the user's own sense.
        best: the best value so far, including this one; plus or minus infinity while there is none.
        n_ended: the number of trials that have ended by then.
    """

    at_s: float
    work_s: float
    trial: int
    step: int
    value: float
    best: float
    n_ended: int


@dataclass(frozen=True, slots=True)
class Limit:
    """The budget: the most trials, or the most worker-seconds of training, after which nothing is started."""

    trials: int | None = None
    work_s: float = math.inf


@dataclass(slots=True)
class _Running:
    trial: int
    training: TrainingRun
    n_reported: int = 0


@dataclass(slots=True)
class Fleet:
    """Workers that are never idle while the tuner has work for them.

    A tuner assigns one trial at a time, whenever a worker is free. It then knows everything that was reported before,
    and nothing about runs in progress. A paused trial continues from its last report, on any worker.

    Attributes:
        tuner: assigns trials.
        train: returns the training run of a configuration.
        n_workers: the number of workers.
        sign: -1 if the objective is maximised.
    """

    tuner: Tuner
    train: Trainer
    n_workers: int
    sign: float = 1.0
    _at_s: float = field(default=0.0, init=False)
    _work_s: float = field(default=0.0, init=False)
    _best: float = field(default=math.inf, init=False)
    _n_begun: int = field(default=0, init=False)
    _n_ended: int = field(default=0, init=False)
    _n_events: int = field(default=0, init=False)
    _busy: list[tuple[float, int, _Running]] = field(default_factory=list, init=False)
    _paused: dict[int, _Running] = field(default_factory=dict, init=False)

    def run(self, limit: Limit) -> Iterator[Measurement]:
        """Yield every value once, as it becomes known, until everything started within the limit has ended.

        A limit on work also ends training runs at their next report.
        """
        self._assign_work(limit)
        while self._busy:
            self._at_s, _, running = heapq.heappop(self._busy)
            self._work_s += running.training.part_s(running.n_reported)
            running.n_reported += 1
            value = running.training.values[running.n_reported - 1]
            if not math.isnan(value):
                self._best = min(self._best, self.sign * value)
            continues = self._report(running, value)
            yield self._measurement(running, value)
            if continues and self._work_s < limit.work_s:
                self._schedule_report(running)
            self._assign_work(limit)

    def _assign_work(self, limit: Limit) -> None:
        while len(self._busy) < self.n_workers and self._work_s < limit.work_s:
            may_begin = limit.trials is None or self._n_begun < limit.trials
            assignment = self.tuner.assign(may_begin=may_begin)
            if assignment is None:
                return
            self._schedule_report(self._start_or_resume(assignment))

    def _start_or_resume(self, assignment: Assignment) -> _Running:
        if assignment.trial in self._paused:
            return self._paused.pop(assignment.trial)
        self._n_begun += 1
        return _Running(assignment.trial, self.train(assignment.configuration))

    def _schedule_report(self, running: _Running) -> None:
        # Simultaneous reports come in the order in which their runs were started or continued.
        self._n_events += 1
        ends_s = self._at_s + running.training.part_s(running.n_reported)
        heapq.heappush(self._busy, (ends_s, self._n_events, running))

    def _report(self, running: _Running, value: float) -> bool:
        """Report to the tuner, and return True if the trial continues at once."""
        step = running.training.steps[running.n_reported - 1]
        if running.n_reported == len(running.training.values):
            self._n_ended += 1
            self.tuner.end(running.trial, step, value=value)
            return False
        directive = self.tuner.report(running.trial, step, value=value)
        if directive is Directive.PAUSE:
            self._paused[running.trial] = running
        self._n_ended += directive is Directive.STOP
        return directive is Directive.CONTINUE

    def _measurement(self, running: _Running, value: float) -> Measurement:
        return Measurement(
            at_s=self._at_s,
            work_s=self._work_s,
            trial=running.trial,
            step=running.training.steps[running.n_reported - 1],
            value=value,
            best=self.sign * self._best,
            n_ended=self._n_ended,
        )

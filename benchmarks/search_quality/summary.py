"""Summary of runs: a row for each method, and the bounds on its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.search_quality.runs import Plan, Run
from numpy.typing import NDArray

FLOOR = 0.001  # of a regret whose logarithm is taken: less than that nobody can tell from none

Runs = Mapping[Plan, Run]


@dataclass(frozen=True)
class Row:
    """A method on a group of tasks.

    Attributes:
        group: the group's name.
        method: who chose.
        n_workers: how many trials were in flight.
        after: how many evaluations, or full trainings' worth of work.
        mean: of the normalised regrets over all tasks and seeds.
        geometric_mean: of the same, each at least `FLOOR`.
        cpu_ms: CPU milliseconds per proposal.
        by_task: the geometric mean of each task.
    """

    group: str
    method: str
    n_workers: int
    after: int
    mean: float
    geometric_mean: float
    cpu_ms: float
    by_task: Mapping[str, float]


@dataclass(frozen=True)
class Figure:
    """A figure of ours beside a peer's, both measured in this run.

    Attributes:
        name: what was compared.
        ratio: of our geometric mean to the peer's.
        low: where the ratio's 95 % interval begins, as the pairs of runs on the same task and seed give it.
        high: where it ends.
        bound: what the ratio must not exceed.
    """

    name: str
    ratio: float
    low: float
    high: float
    bound: float

    @property
    def ok(self) -> bool:
        """True if the ratio is within its bound."""
        return self.ratio <= self.bound


def rows(runs: Runs, group: str, *, tasks: Sequence[str], afters: Sequence[int]) -> Iterator[Row]:
    """Return a row for each method, number of workers and amount with runs on all tasks."""
    for method, n_workers in dict.fromkeys((plan.method, plan.n_workers) for plan in runs):
        regrets = _regrets(runs, method, n_workers)
        if not regrets.keys() >= set(tasks):
            continue
        spent = [
            run
            for plan, run in runs.items()
            if (plan.method, plan.n_workers) == (method, n_workers) and plan.task in tasks
        ]
        for after in afters:
            at = {task: regrets[task][:, after - 1] for task in tasks}
            every = np.concatenate(list(at.values()))
            yield Row(
                group=group,
                method=method,
                n_workers=n_workers,
                after=after,
                mean=float(every.mean()),
                geometric_mean=geometric_mean(every),
                cpu_ms=1e3 * sum(run.cpu_s for run in spent) / max(1, sum(run.n_asked for run in spent)),
                by_task={task: geometric_mean(values) for task, values in at.items()},
            )


def geometric_mean(regrets: NDArray[np.float64]) -> float:
    """Of regrets, each at least `FLOOR`."""
    return float(np.exp(_logs(regrets).mean()))


@dataclass(frozen=True)
class Duel:
    """A bound: our geometric mean is at most `bound` times the best of the peers'."""

    ours: str
    peers: tuple[str, ...]
    n_workers: int
    after: int
    bound: float


GP, TPE = ("optuna-gp",), ("optuna-tpe",)
EVALUATIONS = (
    Duel("auto", GP, 1, 60, 0.9),
    Duel("auto", GP, 8, 60, 0.75),
    Duel("auto", TPE, 1, 60, 0.5),
    Duel("auto", TPE, 8, 60, 0.4),
    Duel("tpe", TPE, 1, 60, 1.0),
    Duel("tpe", TPE, 8, 60, 1.0),
)
HALVING = ("optuna-random+halving", "optuna-tpe+halving", "optuna-tpe+hyperband", "syne-asha", "syne-bohb")
TRAININGS = tuple(
    Duel(ours, HALVING, n_workers, after, 1.0)
    for ours in ("random+asha", "auto+asha")
    for n_workers in (1, 8)
    for after in (10, 40)
) + tuple(Duel("auto+asha", ("random+asha",), n_workers, 40, 1.0) for n_workers in (1, 8))


def figures(runs: Runs, group: str, *, tasks: Sequence[str], duels: Sequence[Duel]) -> Iterator[Figure]:
    """Return the figures with runs of both sides."""
    for duel in duels:
        ours = _logs_at(runs, duel.ours, duel, tasks)
        theirs = {peer: _logs_at(runs, peer, duel, tasks) for peer in duel.peers}
        measured = {peer: logs for peer, logs in theirs.items() if logs is not None}
        if ours is None or not measured:
            continue
        peer = min(measured, key=lambda name: float(measured[name].mean()))
        apart = ours - measured[peer]
        error = 1.96 * float(apart.std(ddof=1)) / len(apart) ** 0.5 if len(apart) > 1 else np.inf
        low, middle, high = np.exp([apart.mean() - error, apart.mean(), apart.mean() + error]).tolist()
        name = f"{group}: {duel.ours} / {peer}, {duel.n_workers} in flight, after {duel.after}"
        yield Figure(name, middle, low, high, duel.bound)


def _regrets(runs: Runs, method: str, n_workers: int) -> dict[str, NDArray[np.float64]]:
    """By task: (seeds, amount)."""
    found: dict[str, list[tuple[int, list[float]]]] = {}
    for plan, run in runs.items():
        if plan.method == method and plan.n_workers == n_workers:
            found.setdefault(plan.task, []).append((plan.seed, run.regrets))
    return {task: np.array([regrets for _, regrets in sorted(each)]) for task, each in found.items()}


def _logs_at(runs: Runs, method: str, duel: Duel, tasks: Sequence[str]) -> NDArray[np.float64] | None:
    """Logarithms of the regrets of all tasks and seeds, in their order; None when there are not all of them."""
    regrets = _regrets(runs, method, duel.n_workers)
    if not regrets.keys() >= set(tasks) or any(regrets[task].shape[1] < duel.after for task in tasks):
        return None
    return np.concatenate([_logs(regrets[task][:, duel.after - 1]) for task in tasks])


def _logs(regrets: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(regrets, FLOOR)))

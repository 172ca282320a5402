"""Comparison of samplers and pruners: each runs the same study on the same table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunefleet.study.spec import StudySpec
from tunefleet_master.pruning import registry as pruners
from tunefleet_master.search import registry as samplers
from tunefleet_master.simulation.exported_trials import ExportedTrials
from tunefleet_master.simulation.fleet import Fleet, Limit, Measurement
from tunefleet_master.simulation.study import SimulatedStudy

GOOD_SHARE = 0.05  # of the table's complete trials: 60 random draws contain one of these with a probability of .95


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """The result of a sampler and a pruner over all seeds.

    Attributes:
        sampler: its name.
        pruner: its name, or `none`.
        best: the best value at the end; the median over seeds.
        n_best: the number of seeds that found the best value of the table.
        n_good: the number of seeds that found one of the table's best 5 %.
        trials_to_good: the number of trials that had ended by then, in the median; None if half of the seeds found
            none.
        s_to_good: the virtual seconds until then, in the median.
        work_s: the training time of all workers together, in the median.
    """

    sampler: str
    pruner: str
    best: float
    n_best: int
    n_good: int
    trials_to_good: float | None
    s_to_good: float | None
    work_s: float


def good_value(exported: ExportedTrials, spec: StudySpec) -> float:
    """Return the worst value among the table's best 5 %, at least one value."""
    ordered = sorted(exported.values, reverse=spec.objective.goal == "maximize")
    return ordered[max(1, math.floor(GOOD_SHARE * len(ordered))) - 1]


def compare(
    specs: Sequence[StudySpec], exported: ExportedTrials, *, n_workers: int, n_seeds: int, n_trials: int
) -> Iterator[ComparisonResult]:
    """Simulate each of these studies, which differ in sampler and pruner only, and yield the results one by one."""
    for spec in specs:
        traces = [
            _trace(spec, exported, seed=spec.search.seed + offset, n_workers=n_workers, n_trials=n_trials)
            for offset in range(n_seeds)
        ]
        yield _result(spec, exported, traces)


def _trace(spec: StudySpec, exported: ExportedTrials, *, seed: int, n_workers: int, n_trials: int) -> list[Measurement]:
    seeded = spec.model_copy(update={"search": spec.search.model_copy(update={"seed": seed})})
    sign = -1.0 if spec.objective.goal == "maximize" else 1.0
    study = SimulatedStudy(
        samplers.build(samplers.select(seeded).sampler, seeded),
        pruner=pruners.build(seeded),
        sign=sign,
        counts_best=spec.objective.value == "best",
    )
    return list(Fleet(study, exported.table.train, n_workers, sign).run(Limit(trials=n_trials)))


def _result(spec: StudySpec, exported: ExportedTrials, traces: Sequence[Sequence[Measurement]]) -> ComparisonResult:
    goal = spec.objective
    good = good_value(exported, spec)
    best_known = max(exported.values) if goal.goal == "maximize" else min(exported.values)
    ends = [trace[-1].best for trace in traces]
    reached = [
        next((measurement for measurement in trace if not goal.better(good, measurement.best)), None)
        for trace in traces
    ]
    return ComparisonResult(
        sampler=spec.search.sampler,
        pruner=spec.pruning.pruner,
        best=statistics.median(ends),
        n_best=sum(not goal.better(best_known, end) for end in ends),
        n_good=sum(measurement is not None for measurement in reached),
        trials_to_good=_finite_median(
            [math.inf if measurement is None else measurement.n_ended for measurement in reached]
        ),
        s_to_good=_finite_median([math.inf if measurement is None else measurement.at_s for measurement in reached]),
        work_s=statistics.median(trace[-1].work_s for trace in traces),
    )


def _finite_median(numbers: Sequence[float]) -> float | None:
    """Return the lower median; None if it is infinite."""
    middle = statistics.median_low(numbers)
    return middle if math.isfinite(middle) else None

"""Findings on infeasible configurations: their number, their region, and their distance from the best trial."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from tunefleet.study.parameters import Choice, IntRange, Parameter, RealRange
from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.study_view import StudyView, as_written, shown, with_bounds
from tunefleet_master.diagnosis.training.curve import LEARNING_RATE

MIN_TRIALS = 8
MAX_FAILING = 0.25
MIN_FAILED, MIN_PURITY = 3, 0.75  # the definition of a failing region: three failures, and three of four trials in it
MAX_CUTS = 100  # of a number's axis; with thousands of trials the bound is then accurate to a percent of them
CHANCE = 0.01  # the probability that any of the tested regions fails this often by chance

EDGE_FACTOR = 3.0  # a best rate within this factor of the lowest failing rate is at the edge of stability

PLAYBOOK = "Google tuning playbook, on infeasible trials and training instability"


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the space in which trials fail: the values on one side of a bound, or one value of a choice.

    Attributes:
        axis: of the parameter.
        outer, inner: the last coordinate outside and the first one inside; for a choice, both are the value's.
        is_upper: True if the values above the bound fail, False if those below; None for a choice.
        n: the number of trials in the region.
        n_failed: the number of failed trials in the region.
    """

    axis: int
    outer: float
    inner: float
    is_upper: bool | None
    n: int
    n_failed: int


def failing_region(view: StudyView, axes: Iterable[int]) -> tuple[Region, float] | None:
    """Return the region along these axes that is least likely by chance, and its p-value; None if chance explains all.

    The p-value is that of Fisher's exact test, one-sided: the probability that at least as many of the failures fall
    into the region. It is multiplied by the number of regions tested (Bonferroni).
    """
    from scipy.stats import hypergeom  # takes two seconds, which delay no start of a master

    _, failed = view.tried
    regions = [region for j in axes for region in _regions(view, j)]
    if len(failed) < MIN_TRIALS or not regions:
        return None
    n, n_failed = np.array([[region.n, region.n_failed] for region in regions]).T
    chances = len(regions) * hypergeom.sf(n_failed - 1, len(failed), failed.sum(), n)
    chances[(n_failed < MIN_FAILED) | (n_failed < MIN_PURITY * n)] = 1.0
    least = int(chances.argmin())
    return (regions[least], float(chances[least])) if chances[least] <= CHANCE else None


def _regions(view: StudyView, j: int) -> Iterator[Region]:
    """Yield every value of a choice, or both sides of the gaps between the values of a number."""
    points, failed = view.tried
    # A trial in which the parameter is inactive lies in none of its regions.
    active = ~np.isnan(points[:, j])
    values, place, n = np.unique(points[active, j], return_inverse=True, return_counts=True)
    n_failed = np.bincount(place, weights=failed[active], minlength=len(values)).astype(np.int64)
    if view.history.axes.is_choice[j]:
        for value, *counts in zip(values.tolist(), n.tolist(), n_failed.tolist(), strict=True):
            yield Region(j, value, value, None, *counts)
        return
    upto, failed_upto = n.cumsum(), n_failed.cumsum()
    for k in np.unique(np.linspace(0, len(values) - 2, MAX_CUTS).astype(np.int64)) if len(values) > 1 else ():
        below, above = float(values[k]), float(values[k + 1])
        yield Region(j, above, below, False, int(upto[k]), int(failed_upto[k]))
        yield Region(j, below, above, True, int(upto[-1] - upto[k]), int(failed_upto[-1] - failed_upto[k]))


def failing_regions(view: StudyView) -> Iterator[Finding]:
    """Find a region of one parameter in which trials fail."""
    found = failing_region(view, [j for j, _, _ in view.tuned()])
    if found is None:
        return
    region, p_value = found
    _, failed = view.tried
    n_others, n_others_failed = len(failed) - region.n, int(failed.sum()) - region.n_failed
    where, edit = _where(view, region), _without(view, region)
    yield Finding(
        code="failing_region",
        severity=Severity.WARNING if failed.mean() > MAX_FAILING else Severity.NOTE,
        sentence=f"{region.n_failed} of {region.n} trials with {where} could not be trained, and {n_others_failed} of "
        f"the {n_others} others.",
        remedy="Leave this region out of the space."
        if edit
        else "The best trial lies in this region, so it cannot be left out: find out why its trials fail, and "
        "search a parameter that prevents this.",
        source=f"{PLAYBOOK}; the thresholds are ours.",
        evidence={
            "n_inside": region.n,
            "n_failed_inside": region.n_failed,
            "n_outside": n_others,
            "n_failed_outside": n_others_failed,
            "p_value": p_value,
        },
        edit=edit,
    )


def many_failures(view: StudyView) -> Iterator[Finding]:
    """Find studies in which more than a quarter of all configurations are infeasible."""
    _, failed = view.tried
    if len(failed) < MIN_TRIALS or failed.mean() <= MAX_FAILING:
        return
    yield Finding(
        code="many_failures",
        severity=Severity.WARNING,
        sentence=f"{failed.sum()} of {len(failed)} trials ({failed.mean():.0%}) diverged, ran out of memory or were "
        "infeasible.",
        remedy="Reduce the space where trials fail, or use other parameters, such as the learning rate per sample "
        "instead of batch size and learning rate.",
        source=f"{PLAYBOOK}; a quarter is our threshold.",
        evidence={"n_failed": int(failed.sum()), "n_trials": len(failed), "share": float(failed.mean())},
    )


def rates_near_divergence(view: StudyView) -> Iterator[Finding]:
    """Find best learning rates that lie within a factor of three of infeasible ones."""
    for j, name, parameter in view.tuned():
        if not LEARNING_RATE.search(name) or not isinstance(parameter, RealRange) or not len(view.order):
            continue
        found = failing_region(view, [j])
        best = view.observations.points[view.order[0], j]
        if found is None or not found[0].is_upper or np.isnan(best):
            continue
        points, failed = view.tried
        fails = failed & (points[:, j] >= found[0].inner)
        unstable = parameter.from_unit(float(points[fails, j].min()))
        rate = parameter.from_unit(float(best))
        if unstable <= EDGE_FACTOR * rate:
            yield _at_the_edge(name, rate, unstable)


def _at_the_edge(name: str, rate: float, unstable: float) -> Finding:
    return Finding(
        code="rate_at_the_edge",
        severity=Severity.NOTE,
        sentence=f"The best {name} is {shown(rate)}, and trials fail from {shown(unstable)} on: training is at the "
        "edge of stability.",
        remedy=f"Train 500 steps with {name} = {shown(2 * rate)} and evaluate after each. If the loss jumps, clip "
        f"gradients, or warm up to ten times the unstable rate, {shown(10 * unstable)}, over at most a tenth of the "
        "steps. If the warm-up takes more than a twentieth of the steps, lengthen the training by as much.",
        source=f"{PLAYBOOK}; the factors of the remedy are its own, 3 is our threshold.",
        evidence={"best": rate, "smallest_failed": unstable, "ratio": unstable / rate},
    )


def _where(view: StudyView, region: Region) -> str:
    """Return the region as a condition on its parameter."""
    name = view.history.axes.space.names[region.axis]
    parameter = view.parameters[name]
    if region.is_upper is None:
        return f"{name} = {parameter.from_unit(region.inner)}"
    return f"{name} {'>' if region.is_upper else '<'} {shown(_bound(parameter, region))}"


def _bound(parameter: Parameter, region: Region) -> float:
    """Return the last value outside for integers, and the middle of the gap on the range's own scale for reals."""
    at = region.outer if isinstance(parameter, IntRange) else (region.outer + region.inner) / 2
    value = parameter.from_unit(at)
    assert isinstance(value, int | float)
    return value if isinstance(parameter, IntRange) else float(f"{value:.3g}")


def _without(view: StudyView, region: Region) -> dict[str, JsonValue] | None:
    """Return the space without the region; None if this would remove the best trial or leave nothing."""
    name = view.history.axes.space.names[region.axis]
    parameter = view.parameters[name]
    best = view.observations.points[view.order[0], region.axis] if len(view.order) else np.nan
    if isinstance(parameter, Choice):
        remaining = [value for value in parameter.choice if parameter.to_unit(value) != region.inner]
        if best == region.inner or not remaining:
            return None
        return {name: as_written(parameter, choice=list(remaining))}
    if not isinstance(parameter, RealRange | IntRange):
        return None
    (low, high), bound = parameter.bounds, _bound(parameter, region)
    bounds = (low, bound) if region.is_upper else (bound, high)
    edge_lost = best >= region.inner if region.is_upper else best <= region.inner
    return None if edge_lost or bounds[0] >= bounds[1] else {name: with_bounds(parameter, bounds)}

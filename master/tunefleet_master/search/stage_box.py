"""Coarse to fine: the box around the best trials of a stage, in which the next stage searches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tunefleet.study.parameters import Choice, Fixed, FloatRange, IntRange, LogRange, Parameter
from tunefleet.study.space import Space, describe
from tunefleet_master.search.history import History, Outcome
from tunefleet_master.search.observations import best_first

MIN_BEST = 3  # trials with a result; with fewer, no range can be estimated and the box stays as it is
MAX_SHRINK = 4.0  # of a range in one stage: a few best trials may be close together by chance
NEAR_EDGE = 0.1  # of a range; best trials this near to an edge of the box suggest that the optimum lies outside
N_TOP, N_AT_EDGE = 5, 3  # this many of the best five must be near the edge, unless the best trial is
WIDER = 0.5  # of the range, added beyond such an edge, up to the user's own bound
MAX_CHANCE = 0.05  # a choice is dropped when the best trials all lack it by chance with less than this probability


RealRange = LogRange | FloatRange
Range = RealRange | IntRange


@dataclass(frozen=True, slots=True)
class Box:
    """The part of the space that the next stage searches.

    Attributes:
        parameters: the parameters that differ from the user's own space.
        evidence: a sentence on the trials used, and one for each parameter that was narrowed or widened.
    """

    parameters: dict[str, Parameter]
    evidence: list[str]


def box_around_best(history: History, space: Space, *, stage: int, keep: float) -> Box:
    """Return the box around the best trials of a stage.

    A range becomes the interval of the best trials' values, on its own scale, widened on each side by their mean gap:
    the best unbiased estimate of the range that they were drawn from. It never shrinks below a quarter. Where the best
    trials lie at an edge of the box inside the user's own bounds, the range grows again on that side. A choice is
    dropped if many trials had it and none of the best does.

    Args:
        history: all trials; its axes are those of the box of the stage that ends.
        space: the user's own space, which every box stays within.
        stage: the stage that ends, from 0.
        keep: the share of its trials that count as the best.
    """
    ended = history.with_outcome(Outcome.COMPLETE, Outcome.PRUNED)
    ended = ended[(history.stages[ended] == stage) & np.isfinite(history.values[ended, 0])]
    ranked = ended[best_first(history, ended)]
    current = history.axes.space
    n_best = min(len(ranked), max(math.ceil(keep * len(ranked)), MIN_BEST))
    if len(ranked) < MIN_BEST:
        return Box(
            _changed_parameters(space, current.parameters), [f"only {len(ranked)} trials of the stage have a result"]
        )
    tried = [history.axes.configuration(history.points[trial]) for trial in ranked]
    evidence = [f"the best {n_best} of {len(tried)} trials"]
    parameters = dict(current.parameters)
    for name, parameter in current.parameters.items():
        values = [configuration.get(name) for configuration in tried]
        parameters[name] = _narrow(parameter, space.parameters[name], values, n_best=n_best)
        if parameters[name] != parameter:
            evidence.append(f"{name}: {describe(parameter)} → {describe(parameters[name])}")
    return Box(_changed_parameters(space, parameters), evidence)


def apply_box(space: dict[str, Parameter], box: dict[str, Parameter]) -> dict[str, Parameter]:
    """Return the user's parameters, replaced by those of a box where it has them."""
    return {name: box.get(name, parameter) for name, parameter in space.items()}


def _changed_parameters(space: Space, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    return {name: each for name, each in parameters.items() if each != space.parameters[name]}


def _narrow(parameter: Parameter, own: Parameter, values: Sequence[Any], *, n_best: int) -> Parameter:
    """Return a parameter's part of the box.

    Args:
        parameter: as it is now. own: as the user has it.
        values: of all trials, the best first; None where the parameter was inactive.
        n_best: the number of the best trials.
    """
    match parameter, own:
        case (Fixed(), _) | (_, Fixed()):
            return parameter
        case Choice(), Choice():
            return _drop_choices(parameter, values, n_best=n_best)
        case ((LogRange() | FloatRange() | IntRange()), (LogRange() | FloatRange() | IntRange())):
            best_values = [value for value in values[:n_best] if value is not None]
            return _narrow_range(parameter, own, best_values) if len(best_values) >= MIN_BEST else parameter
    return parameter


def _drop_choices(parameter: Choice, values: Sequence[Any], *, n_best: int) -> Parameter:
    among_best = {parameter.to_unit(value) for value in values[:n_best] if value is not None}
    share = n_best / len(values)

    def is_retained(value: Any) -> bool:
        u = parameter.to_unit(value)
        n_tried = sum(other is not None and parameter.to_unit(other) == u for other in values)
        return u in among_best or (1 - share) ** n_tried >= MAX_CHANCE

    return parameter.model_copy(update={"choice": tuple(value for value in parameter.choice if is_retained(value))})


def _narrow_range(parameter: Range, own: Range, best_values: Sequence[Any]) -> Parameter:
    at = np.array([parameter.to_unit(value) for value in best_values])
    low, high = float(at.min()), float(at.max())
    gap = (high - low) / (len(at) - 1)
    low, high = low - gap, high + gap
    missing_width = 1 / MAX_SHRINK - (high - low)
    if missing_width > 0:
        low, high = low - missing_width / 2, high + missing_width / 2
    low, high = max(low, 0.0), min(high, 1.0)
    low, high = (-WIDER if _at_edge(at) else low), (1 + WIDER if _at_edge(1 - at) else high)
    if isinstance(parameter, IntRange):
        return _integer_bounds(parameter, cast("IntRange", own), low, high)
    return _real_bounds(parameter, cast("RealRange", own), low, high)


def _at_edge(distances: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Return True if the best of these trials, the best first, lie at the edge; `distances` are measured from it."""
    near = distances < NEAR_EDGE
    return bool(near[0] or near[:N_TOP].sum() >= N_AT_EDGE)


def _real_bounds(parameter: RealRange, own: RealRange, low: float, high: float) -> Parameter:
    ends = _round_digits(_extrapolate(parameter, low)), _round_digits(_extrapolate(parameter, high))
    bounds = max(ends[0], own.bounds[0]), min(ends[1], own.bounds[1])
    return parameter.model_copy(update={"bounds": bounds}) if bounds[0] < bounds[1] else parameter


def _round_digits(value: float) -> float:
    """Round to three significant digits, as a user would write."""
    return float(f"{value:.3g}")


def _extrapolate(parameter: RealRange, u: float) -> float:
    """Return the value at u, which may lie outside of [0, 1]; the scale is continued there."""
    low, high = (math.log(bound) if parameter.is_log else bound for bound in parameter.bounds)
    at = low + u * (high - low)
    return math.exp(at) if parameter.is_log else at


def _integer_bounds(parameter: IntRange, own: IntRange, low: float, high: float) -> Parameter:
    """Round outwards: an integer stays if the interval touches its unit-wide cell."""
    edges = [math.log(b) if parameter.log else b for b in (parameter.bounds[0] - 0.5, parameter.bounds[1] + 0.5)]
    ends = [edges[0] + u * (edges[1] - edges[0]) for u in (low, high)]
    values = [math.exp(end) if parameter.log else end for end in ends]
    bounds = max(math.floor(values[0] + 0.5), own.bounds[0]), min(math.ceil(values[1] - 0.5), own.bounds[1])
    return parameter.model_copy(update={"bounds": bounds}) if bounds[0] < bounds[1] else parameter

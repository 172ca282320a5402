"""The box around the best trials of a stage, in which the next one searches: coarse to fine."""

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

MIN_KEPT = 3  # of which a range can be told; where fewer trials have a result, the box stays as it is
MAX_SHRINK = 4.0  # of a range in one stage, however close together the best are: a few of them may be so by chance
NEAR_EDGE = 0.1  # of a range; best trials so near to the box' edge say that the best place may lie outside
N_TOP, N_AT_EDGE = 5, 3  # so many of the best five must be there, unless the very best one is
WIDER = 0.5  # of the range, added behind such an edge, up to the user's own bound
MAX_CHANCE = 0.05  # a choice goes when that none of the kept trials has it is less likely than this by chance


RealRange = LogRange | FloatRange
Range = RealRange | IntRange


@dataclass(frozen=True, slots=True)
class Box:
    """Where the next stage searches.

    Attributes:
        parameters: those that differ from the user's own space.
        evidence: a sentence for each parameter that was narrowed or widened, and one on whom they were judged by.
    """

    parameters: dict[str, Parameter]
    evidence: list[str]


def box_around_best(history: History, space: Space, *, stage: int, keep: float) -> Box:
    """The box around the best trials of a stage.

    Each range becomes the interval of the kept trials' values, in its own scale, a little wider by the mean gap
    between them: that is the best unbiased guess of the range that they were drawn from. It is never less than a
    quarter of what it was. Where the best trials stand at an edge of the box that is not the user's own, the range
    grows again on that side. A choice is dropped where many tried it and none of the best has it.

    Args:
        history: all trials, whose axes are of the box of the stage that ends.
        space: the user's own, which no box leaves.
        stage: the stage that ends, from 0.
        keep: the share of its trials that count as the best.
    """
    known = history.with_outcome(Outcome.COMPLETE, Outcome.PRUNED)
    known = known[(history.stages[known] == stage) & np.isfinite(history.values[known, 0])]
    ranked = known[best_first(history, known)]
    current = history.axes.space
    n_kept = min(len(ranked), max(math.ceil(keep * len(ranked)), MIN_KEPT))
    if len(ranked) < MIN_KEPT:
        return Box(_changed(space, current.parameters), [f"{len(ranked)} trials of the stage have a result: too few"])
    tried = [history.axes.configuration(history.points[trial]) for trial in ranked]
    evidence = [f"the best {n_kept} of {len(tried)} trials"]
    parameters = dict(current.parameters)
    for name, parameter in current.parameters.items():
        values = [configuration.get(name) for configuration in tried]
        parameters[name] = _narrowed(parameter, space.parameters[name], values, n_kept=n_kept)
        if parameters[name] != parameter:
            evidence.append(f"{name}: {describe(parameter)} → {describe(parameters[name])}")
    return Box(_changed(space, parameters), evidence)


def searched(space: dict[str, Parameter], box: dict[str, Parameter]) -> dict[str, Parameter]:
    """The user's parameters with those of a box in their places."""
    return {name: box.get(name, parameter) for name, parameter in space.items()}


def _changed(space: Space, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    return {name: each for name, each in parameters.items() if each != space.parameters[name]}


def _narrowed(parameter: Parameter, own: Parameter, values: Sequence[Any], *, n_kept: int) -> Parameter:
    """A parameter's part of the box.

    Args:
        parameter: as it is now. own: as the user has it.
        values: of all trials, the best first; None where it was not active.
        n_kept: how many of them are the best.
    """
    match parameter, own:
        case (Fixed(), _) | (_, Fixed()):
            return parameter
        case Choice(), Choice():
            return _fewer_choices(parameter, values, n_kept=n_kept)
        case ((LogRange() | FloatRange() | IntRange()), (LogRange() | FloatRange() | IntRange())):
            kept = [value for value in values[:n_kept] if value is not None]
            return _narrower_range(parameter, own, kept) if len(kept) >= MIN_KEPT else parameter
    return parameter


def _fewer_choices(parameter: Choice, values: Sequence[Any], *, n_kept: int) -> Parameter:
    among_best = {parameter.to_unit(value) for value in values[:n_kept] if value is not None}
    share = n_kept / len(values)

    def stays(value: Any) -> bool:
        u = parameter.to_unit(value)
        n_tried = sum(other is not None and parameter.to_unit(other) == u for other in values)
        return u in among_best or (1 - share) ** n_tried >= MAX_CHANCE

    return parameter.model_copy(update={"choice": tuple(value for value in parameter.choice if stays(value))})


def _narrower_range(parameter: Range, own: Range, kept: Sequence[Any]) -> Parameter:
    at = np.array([parameter.to_unit(value) for value in kept])
    low, high = float(at.min()), float(at.max())
    gap = (high - low) / (len(at) - 1)
    low, high = low - gap, high + gap
    lacking = 1 / MAX_SHRINK - (high - low)
    if lacking > 0:
        low, high = low - lacking / 2, high + lacking / 2
    low, high = max(low, 0.0), min(high, 1.0)
    low, high = (-WIDER if _at_edge(at) else low), (1 + WIDER if _at_edge(1 - at) else high)
    if isinstance(parameter, IntRange):
        return _integers(parameter, cast("IntRange", own), low, high)
    return _reals(parameter, cast("RealRange", own), low, high)


def _at_edge(distances: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Whether the best of these trials, the best first, stand at the edge from which they are so far."""
    near = distances < NEAR_EDGE
    return bool(near[0] or near[:N_TOP].sum() >= N_AT_EDGE)


def _reals(parameter: RealRange, own: RealRange, low: float, high: float) -> Parameter:
    ends = _rounded(_beyond(parameter, low)), _rounded(_beyond(parameter, high))
    bounds = max(ends[0], own.bounds[0]), min(ends[1], own.bounds[1])
    return parameter.model_copy(update={"bounds": bounds}) if bounds[0] < bounds[1] else parameter


def _rounded(value: float) -> float:
    """With as many digits as somebody would write."""
    return float(f"{value:.3g}")


def _beyond(parameter: RealRange, u: float) -> float:
    """The value at u, which may lie outside of [0, 1]: the scale goes on there."""
    low, high = (math.log(bound) if parameter.is_log else bound for bound in parameter.bounds)
    at = low + u * (high - low)
    return math.exp(at) if parameter.is_log else at


def _integers(parameter: IntRange, own: IntRange, low: float, high: float) -> Parameter:
    """Rounded outwards, so that every integer stays whose cell the interval touches."""
    edges = [math.log(b) if parameter.log else b for b in (parameter.bounds[0] - 0.5, parameter.bounds[1] + 0.5)]
    ends = [edges[0] + u * (edges[1] - edges[0]) for u in (low, high)]
    values = [math.exp(end) if parameter.log else end for end in ends]
    bounds = max(math.floor(values[0] + 0.5), own.bounds[0]), min(math.ceil(values[1] - 0.5), own.bounds[1])
    return parameter.model_copy(update={"bounds": bounds}) if bounds[0] < bounds[1] else parameter

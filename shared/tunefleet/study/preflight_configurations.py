"""Which configurations a preflight runs: one for each distinct architecture of a space, at some learning rates."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from tunefleet.catalogue.tasks import TASKS, TaskSignature
from tunefleet.study.parameters import Choice, RealRange
from tunefleet.study.space import Configuration, Space, configuration_hash
from tunefleet.study.spec import StudySpec, TaskRun

MAX_BRANCHES = 8
"""So many architectures are checked at most: enough to see each choice once, and soon over."""

LEARNING_RATES = (1e-2, 1e-3, 1e-1)
"""A pipeline is at fault, and not its rate, when none of these overfits. Karpathy's recipe has the first two; plain SGD
on a normalised network wants the third."""
RATES_OF_TASKS = (*LEARNING_RATES, 1.0)
"""A built-in task's optimizer may be one whose usual rate is 1. The space's own range of rates is no part of the
pipeline, and left aside."""
NAMES_OF_RATES = ("lr", "learning_rate", "step_size")
OTHER_PLACES = (0.5, 0.75, 0.25)
"""Where a function has no learning rate by one of these names: the places in its logarithmic ranges that are tried."""
N_DRAWS = 200  # random points that are tried for one that the constraints allow


def preflight_configurations(spec: StudySpec) -> list[list[Configuration]]:
    """The architectures of a study, at most MAX_BRANCHES, each as the configurations to try, the most likely first.

    An architecture is a choice of every parameter that changes shapes: of a built-in task, those that say so
    (`TaskParameter.shapes`); of a function, its choices between words, and those that a `when` reads. Numbers are
    taken from the middle of their range, on its own scale. Where there are more than MAX_BRANCHES combinations, each
    value comes once, together with the others in turn. A built-in task gets nothing but its shapes and its learning
    rate, so that all that regularises stays off, as by default.
    """
    space, task = spec.search_space, _signature(spec)
    found: dict[str, list[Configuration]] = {}
    for choice in _combinations(_axes(space, task)):
        tries = list(_tries(space, choice))
        tries = tries if task is None else _of_task(tries, task)
        if tries:
            found.setdefault(configuration_hash(tries[0]), _distinct(tries))
    return list(found.values())[:MAX_BRANCHES]


def _signature(spec: StudySpec) -> TaskSignature | None:
    return TASKS.get(spec.run.task) if isinstance(spec.run, TaskRun) else None


def _of_task(tries: list[Configuration], task: TaskSignature) -> list[Configuration]:
    """The shapes of the first one, at each of the rates that a task is tried at."""
    known = task.parameters
    for params in tries[:1]:
        needed = {name for name, it in known.items() if it.shapes or it.is_required}
        kept = {name: value for name, value in params.items() if name in needed}
        return [kept | {"lr": rate} for rate in RATES_OF_TASKS] if "lr" in known else [kept]
    return []


def _axes(space: Space, task: TaskSignature | None) -> dict[str, tuple[JsonValue, ...]]:
    """The parameters that tell architectures apart, with their values."""
    choices = {name: it.choice for name, it in space.parameters.items() if isinstance(it, Choice)}
    if task is not None:
        shapes = {name for name, it in task.parameters.items() if it.shapes}
        return {name: values for name, values in choices.items() if name in shapes}
    read = {name for it in space.parameters.values() if it.condition for name in it.condition.names}
    return {name: values for name, values in choices.items() if name in read or not all(map(_is_number, values))}


def _combinations(axes: Mapping[str, tuple[JsonValue, ...]]) -> Iterator[dict[str, JsonValue]]:
    if math.prod(len(values) for values in axes.values()) <= MAX_BRANCHES:
        for values in itertools.product(*axes.values()):
            yield dict(zip(axes, values, strict=True))
        return
    for i in range(max(len(values) for values in axes.values())):
        yield {name: values[i % len(values)] for name, values in axes.items()}


def _tries(space: Space, choice: Mapping[str, JsonValue]) -> Iterator[Configuration]:
    """The middle of the space with these choices, at each learning rate; what its constraints allow."""
    rates = {
        name: it
        for name, it in space.parameters.items()
        if isinstance(it, RealRange) and (name in NAMES_OF_RATES or name.endswith("_lr"))
    }
    scaled = {name: it for name, it in space.parameters.items() if isinstance(it, RealRange) and it.is_log}
    middle = dict.fromkeys(space.names, 0.5)
    middle |= {name: space.parameters[name].to_unit(value) for name, value in choice.items()}
    steps: list[dict[str, float]] = (
        [{name: _unit(it, rate) for name, it in rates.items()} for rate in LEARNING_RATES]
        if rates
        else [dict.fromkeys(scaled, place) for place in OTHER_PLACES]
    )
    for step in steps:
        params = _allowed(space, middle | step, kept=choice.keys() | step.keys())
        if params is not None:
            yield params


def _unit(parameter: RealRange, value: float) -> float:
    low, high = parameter.bounds
    return parameter.to_unit(min(max(value, low), high))


def _allowed(space: Space, point: Mapping[str, float], *, kept: set[str]) -> Configuration | None:
    """The configuration at a point, or at one that has only the `kept` coordinates in common with it."""
    draw = random.Random(0)
    for _ in range(N_DRAWS):
        params = space.from_unit(point)
        if space.allows(params):
            return params
        point = {name: at if name in kept else draw.random() for name, at in point.items()}
    return None


def _distinct(tries: list[Configuration]) -> list[Configuration]:
    return list({configuration_hash(params): params for params in tries}.values())


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""The configurations of a preflight: each distinct architecture of a space, at several learning rates."""

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
"""The largest number of architectures: enough to run each choice once, in a short time."""

LEARNING_RATES = (1e-2, 1e-3, 1e-1)
"""If no rate overfits, the pipeline is at fault. The first two are from Karpathy's recipe; plain SGD on a normalised
network needs the third."""
RATES_OF_TASKS = (*LEARNING_RATES, 1.0)
"""The rates of built-in tasks, which have optimizers with a usual rate of 1. The space's range of rates is ignored."""
NAMES_OF_RATES = ("lr", "learning_rate", "step_size")
OTHER_PLACES = (0.5, 0.75, 0.25)
"""Coordinates in logarithmic ranges to try, for a function without a learning rate of one of these names."""
N_DRAWS = 200  # random points to try until the constraints allow one


def preflight_configurations(spec: StudySpec) -> list[list[Configuration]]:
    """Return at most MAX_BRANCHES architectures, each as a list of configurations to try, the most promising first.

    An architecture is a choice for every parameter that changes shapes. In a built-in task, these have
    `TaskParameter.shapes`. In a function, these are the choices between words, and those that a `when` reads. Numbers
    take the middle of their range, on its own scale. If there are more than MAX_BRANCHES combinations, each value
    occurs once. A built-in task gets only its shapes and its learning rate, so regularisation stays off, its default.
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
    """Return the shapes of the first configuration, at each of RATES_OF_TASKS."""
    known = task.parameters
    for params in tries[:1]:
        needed = {name for name, it in known.items() if it.shapes or it.is_required}
        kept = {name: value for name, value in params.items() if name in needed}
        return [kept | {"lr": rate} for rate in RATES_OF_TASKS] if "lr" in known else [kept]
    return []


def _axes(space: Space, task: TaskSignature | None) -> dict[str, tuple[JsonValue, ...]]:
    """Return the parameters that distinguish architectures, with their values."""
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
    """Yield the middle of the space with these choices, at each learning rate, if the constraints allow it."""
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
    """Return the configuration at a point, or at a random point with the same `kept` coordinates."""
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

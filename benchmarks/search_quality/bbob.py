"""BBOB functions in five dimensions (Hansen et al. 2009), and their mixed-integer form (Tušar, Brockhoff, Hansen 2019).

The value is log10 of the distance to the optimum, no smaller than COCO's final target of 1e-8: that is where regret
is 0. Each seed has an instance of its own, so that nobody is lucky with the place of one optimum.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from benchmarks.search_quality.task import Task, median_draw, needed, number

from tunefleet.study.parameters import FloatRange, IntRange, Parameter
from tunefleet.study.space import Configuration, Space
from tunefleet_master.simulation.training_run import TrainingRun

D = 5
LOW, HIGH = -5.0, 5.0
FINAL_TARGET = 1e-8
N_INSTANCES = 15  # COCO uses as many, and they are checked to be of much the same difficulty
ARITIES = (2, 4, 8, 16)  # of the mixed-integer form: one variable each in five dimensions, the last one is continuous
NAMES = tuple(f"x{i + 1}" for i in range(D))
DURATION_SPREAD = 0.5  # of the logarithm: the slowest of ten trainings takes about five times as long as the fastest


@cache
def continuous(function: int, *, seed: int) -> Task:
    """One of the functions, 1 to 24."""
    space = Space({name: FloatRange.model_validate({"float": [LOW, HIGH]}) for name in NAMES})
    precision = _precision(function, seed)
    return _task(f"bbob/f{function}", space, lambda configuration: precision([number(configuration, n) for n in NAMES]))


@cache
def mixed_integer(function: int, *, seed: int) -> Task:
    """One of the functions with discrete variables, the optimum being one of their values.

    A variable of n values has them at equal distances within the range, n + 1 steps from end to end, and the function
    is shifted so that its optimum lies at the nearest of them.
    """
    parameters: dict[str, Parameter] = {
        name: IntRange.model_validate({"int": [0, arity - 1]}) for name, arity in zip(NAMES, ARITIES, strict=False)
    }
    parameters[NAMES[-1]] = FloatRange.model_validate({"float": [LOW, HIGH]})
    precision = _precision(function, seed)
    grids = [LOW + (HIGH - LOW) * np.arange(1, arity + 1) / (arity + 1) for arity in ARITIES]
    optimum = _problem(function, seed).optimum.x
    shifts = [grid[np.abs(grid - at).argmin()] - at for grid, at in zip(grids, optimum, strict=False)]

    def value(configuration: Configuration) -> float:
        inner = [
            float(grid[int(number(configuration, name))] - shift)
            for name, grid, shift in zip(NAMES, grids, shifts, strict=False)
        ]
        return precision([*inner, number(configuration, NAMES[-1])])

    return _task(f"bbob-mixint/f{function}", Space(parameters), value)


def _task(name: str, space: Space, value: Callable[[Configuration], float]) -> Task:
    def train(configuration: Configuration) -> TrainingRun:
        return TrainingRun((value(configuration),), (_drawn_duration(configuration),))

    return Task(name, space, train, best=math.log10(FINAL_TARGET), median=median_draw(space, train))


def _problem(function: int, seed: int) -> Any:
    ioh = needed("ioh")
    return ioh.get_problem(function, instance=1 + seed % N_INSTANCES, dimension=D, problem_class=ioh.ProblemClass.BBOB)


def _precision(function: int, seed: int) -> Callable[[Sequence[float]], float]:
    problem = _problem(function, seed)
    lowest = problem.optimum.y
    return lambda x: math.log10(max(problem(list(x)) - lowest, FINAL_TARGET))


def _drawn_duration(configuration: Configuration) -> float:
    """Seconds, log-normal around one: the same for the same configuration, whoever proposes it."""
    drawn = np.random.default_rng(zlib.crc32(json.dumps(configuration, sort_keys=True).encode()))
    return math.exp(DURATION_SPREAD * drawn.standard_normal())

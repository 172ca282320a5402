"""Two finite spaces on scikit-learn's digits, as `make_digits.py` has run them; both have a conditional parameter."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.search_quality import stored
from benchmarks.search_quality.task import Task, median_draw
from pydantic import TypeAdapter

from tunefleet.study.parameters import Parameter
from tunefleet.study.space import Space
from tunefleet_master.simulation.table import Table
from tunefleet_master.simulation.training_run import TrainingRun

SVM = Path(__file__).with_name("digits_svm.npz")
MLP = Path(__file__).with_name("digits_mlp.npz")

SVM_C = tuple((10.0 ** np.linspace(-3, 4, 12)).tolist())
SVM_GAMMA = tuple((10.0 ** np.linspace(-5, 1, 13)).tolist())
MLP_LR = tuple((10.0 ** np.linspace(-3.5, -0.5, 7)).tolist())
MLP_UNITS = (8, 16, 32, 64)
MLP_BATCH = (64, 128)
MLP_MOMENTUM = (0.0, 0.9)
DIVERGED = 10.0  # the logarithm of a loss that is not finite: above all that are

_SPACES: dict[str, dict[str, Any]] = {
    "svm": {
        "kernel": ["rbf", "poly", "sigmoid"],
        "c": {"int": [0, len(SVM_C) - 1]},
        "gamma": {"int": [0, len(SVM_GAMMA) - 1]},
        "degree": {"int": [2, 4], "when": "kernel == 'poly'"},
    },
    "mlp": {
        "lr": {"int": [0, len(MLP_LR) - 1]},
        "units": {"int": [0, len(MLP_UNITS) - 1]},
        "depth": {"int": [1, 2]},
        "batch_size": {"int": [0, len(MLP_BATCH) - 1]},
        "activation": ["relu", "tanh"],
        "optimizer": ["sgd", "adam"],
        "momentum": {"int": [0, len(MLP_MOMENTUM) - 1], "when": "optimizer == 'sgd'"},
    },
}


def _space(name: str) -> Space:
    return Space(TypeAdapter(dict[str, Parameter]).validate_python(_SPACES[name]))


SVM_SPACE, MLP_SPACE = _space("svm"), _space("mlp")


@cache
def load(name: str) -> Task:
    """`svm` or `mlp`."""
    file, space = {"svm": (SVM, SVM_SPACE), "mlp": (MLP, MLP_SPACE)}[name]
    configurations, columns = stored.read(file)
    trainings = [
        TrainingRun((loss,), (seconds,))
        for loss, seconds in zip(columns["loss"].tolist(), columns["seconds"].tolist(), strict=True)
    ]
    train = Table(space, configurations, trainings=trainings).train
    return Task(f"digits/{name}", space, train, best=float(columns["loss"].min()), median=median_draw(space, train))

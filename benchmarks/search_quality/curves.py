"""Real learning curves: 400 small networks on mnist1d, 50 epochs each, as `make_curves.py` has trained them.

The objective is the validation error. A training counts by its best epoch, as a study does that keeps the best model;
every method is told the best so far after each epoch, since Optuna and Syne Tune count by what they were told last.
A configuration is served by the nearest of the 400, as `tunefleet_master.simulation.table` has it.
"""

from __future__ import annotations

import statistics
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.search_quality import stored
from benchmarks.search_quality.task import N_DRAWS, Task, random_draws
from pydantic import TypeAdapter

from tunefleet.study.parameters import Parameter
from tunefleet.study.space import Space
from tunefleet_master.simulation.table import Table
from tunefleet_master.simulation.training_run import TrainingRun

FILE = Path(__file__).with_name("mnist1d_curves.npz")
COLUMNS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_accuracy", "seconds")

PARAMETERS: dict[str, Any] = {
    "kind": ["mlp", "cnn"],
    "lr": {"log": [1e-4, 0.3]},
    "batch_size": {"int": [64, 512], "log": True},
    "optimizer": ["sgd", "adam"],
    "momentum": {"float": [0.0, 0.99], "when": "optimizer == 'sgd'"},
    "depth": {"int": [1, 3]},
    "units": {"int": [16, 128], "log": True, "when": "kind == 'mlp'"},
    "channels": {"int": [4, 24], "log": True, "when": "kind == 'cnn'"},
    "kernel": {"choice": [3, 5, 7], "when": "kind == 'cnn'"},
    "weight_decay": {"log": [1e-6, 1e-1]},
    "dropout": {"float": [0.0, 0.5]},
}
SPACE = Space(TypeAdapter(dict[str, Parameter]).validate_python(PARAMETERS))


@cache
def load(name: str) -> Task:
    """`mnist1d`."""
    configurations, columns = stored.read({"mnist1d": FILE}[name])
    errors = np.minimum.accumulate(1 - columns["val_accuracy"], axis=1)
    ends_s = np.cumsum(columns["seconds"], axis=1)
    trainings = [TrainingRun(tuple(e), tuple(s)) for e, s in zip(errors.tolist(), ends_s.tolist(), strict=True)]
    train = Table(SPACE, configurations, trainings=trainings).train
    drawn = [train(draw) for draw in random_draws(SPACE, N_DRAWS, seed=0)]
    return Task(
        f"curves/{name}",
        SPACE,
        train,
        best=float(errors.min()),
        median=statistics.median(training.values[-1] for training in drawn),
        full_s=statistics.fmean(training.ends_s[-1] for training in drawn),
    )

"""Networks trained on real data like the built-in task, for tests of methods."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from tunefleet.study.spec import DataSpec
from tunefleet_worker.tasks.datasets.parts import DataChoice, load_training_parts
from tunefleet_worker.tasks.models import ModelConfig, build_model
from tunefleet_worker.tasks.training import Training, TrainingConfig
from tunefleet_worker.training.epochs import Score
from tunefleet_worker.training.samples import Samples


@cache
def parts(dataset: str = "mnist1d", subset: float = 1.0) -> tuple[Samples, Samples]:
    """Return the standardised training and validation parts."""
    loaded = load_training_parts(DataChoice(dataset=dataset, spec=DataSpec(subset=subset)))
    train, validation = (loaded.standardisation.apply(part) for part in (loaded.train, loaded.validation))
    return train, validation


def network(seed: int = 0, **fields: Any) -> nn.Module:
    torch.manual_seed(seed)
    shape = {"kind": "cnn", "input_shape": (1, 40), "classes": 10, "width": 8, "depth": 3, "normalization": "none"}
    return build_model(ModelConfig.parse({**shape, **fields}))


def train(model: nn.Module, *, data: Samples | None = None, **fields: Any) -> list[Score]:
    """Return the training score of each epoch."""
    samples = data or parts()[0]
    training = Training(model, TrainingConfig.parse(fields), n_samples=len(samples))
    curve = []
    for epoch in range(fields["epochs"]):
        curve.append(training.run_epoch(epoch, samples))
        training.end_epoch(curve[-1].loss)
        if not curve[-1].is_finite:
            break
    return curve

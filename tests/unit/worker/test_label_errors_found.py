"""Wrong labels of mnist1d are found by networks that have not seen them (Northcutt et al. 2021)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunefleet.data.order import stratified_order
from tunefleet_master.diagnosis.label_errors import find_label_errors
from tunefleet_worker.looking.predictions import predict
from tunefleet_worker.tasks.datasets.parts import DataChoice, Standardisation, load_training_parts
from tunefleet_worker.tasks.models import ModelConfig, build_model
from tunefleet_worker.training.epochs import train_epoch
from tunefleet_worker.training.optimizers import build_optimizer
from tunefleet_worker.training.samples import Samples

RATE = 0.023  # the share of corrupt labels in the lecture
FOLDS, EPOCHS = 4, 15
CONFIG: dict[str, Any] = {"kind": "cnn", "input_shape": (1, 40), "classes": 10, "depth": 3, "width": 32}


@pytest.mark.slow
def test_half_of_the_most_suspicious_labels_are_wrong_when_one_in_forty_is() -> None:
    samples = everything()
    n_flipped = round(RATE * len(samples))
    labels, is_wrong = flipped(samples.labels, n_flipped)
    assert n_flipped == is_wrong.sum() == 92
    p = out_of_fold(Samples(samples.inputs, labels))
    found = find_label_errors(labels.numpy(), p)
    precision = is_wrong[found.order[:n_flipped]].mean()
    recall = is_wrong[found.order[: 2 * n_flipped]].sum() / n_flipped
    accuracy = (p.argmax(axis=1) == samples.labels.numpy()).mean()
    print(f"accuracy {accuracy:.3f}, precision@92 {precision:.2f}, recall@184 {recall:.2f}, ", end="")
    print(f"lift {precision / RATE:.0f}, suspected {found.is_suspected.sum()}, of them ", end="")
    print(f"{is_wrong[found.is_suspected].mean():.2f} wrong, estimated rate {found.rate:.3f}")
    assert accuracy > 0.75
    assert precision > 0.4
    assert precision / RATE > 15
    assert recall > 0.6


def everything() -> Samples:
    """Return the 4000 samples outside the test part."""
    parts = load_training_parts(DataChoice(dataset="mnist1d"))
    train, held_out = parts.train, parts.validation
    return Samples(torch.cat([train.inputs, held_out.inputs]), torch.cat([train.labels, held_out.labels]))


def flipped(labels: Tensor, n: int) -> tuple[Tensor, NDArray[np.bool_]]:
    """Return labels with exactly this many in another class, and a mask of these."""
    generator = torch.Generator().manual_seed(7)
    chosen = torch.randperm(len(labels), generator=generator)[:n]
    changed = labels.clone()
    changed[chosen] = (labels[chosen] + torch.randint(1, 10, (n,), generator=generator)) % 10
    return changed, (changed != labels).numpy()


def out_of_fold(samples: Samples) -> NDArray[np.float64]:
    """Return probabilities (n, 10), each from the network that was not trained on the sample."""
    folds = torch.tensor_split(torch.from_numpy(stratified_order(samples.labels.numpy(), 0)), FOLDS)
    p = np.empty((len(samples), 10))
    for held_out in folds:
        kept = torch.ones(len(samples), dtype=torch.bool)
        kept[held_out] = False
        standardisation = Standardisation.of(samples.inputs[kept])
        ready = standardisation.apply(samples)
        torch.manual_seed(0)
        model = build_model(ModelConfig(**CONFIG))
        optimizer = build_optimizer("adam", model, lr=5e-3)
        train = Samples(ready.inputs[kept], ready.labels[kept])
        for _ in range(EPOCHS):
            train_epoch(model, train, optimizer=optimizer, batch_size=100)
        p[held_out.numpy()] = predict(model, ready.inputs[held_out]).numpy()
    return p

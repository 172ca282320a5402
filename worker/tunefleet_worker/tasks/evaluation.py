"""The score of a saved model; the one place where the test part is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunefleet_worker.tasks.datasets.parts import load_training_parts, open_test_part
from tunefleet_worker.tasks.saved_model import SavedModel
from tunefleet_worker.training.epochs import score


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The share of samples that a model classifies right, its mean cross-entropy in nats, and the number of samples."""

    accuracy: float
    loss: float
    samples: int


def evaluate_saved_model(folder: Path, *, part: Literal["test", "validation"]) -> Evaluation:
    """Rebuild the model in a folder and score it on the CPU, on one part of the very split that it was trained with.

    Raises:
        SavedModelError: the folder holds no model, or one that cannot be read.
        DataUnavailable: its data set is not here.
    """
    saved = SavedModel.read(folder)
    network = saved.load(folder)
    samples = open_test_part(saved.data) if part == "test" else load_training_parts(saved.data).validation
    result = score(network, saved.standardisation.apply(samples))
    return Evaluation(accuracy=result.accuracy, loss=result.loss, samples=len(samples))

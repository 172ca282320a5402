"""The evaluation of a saved model, the only use of the test part.

Every opening is a line of `test-openings.jsonl` in the model's folder: a part that selects models is no test of them.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from tunefleet_worker.tasks.datasets.parts import load_training_parts, open_test_part
from tunefleet_worker.tasks.saved_model import SavedModel
from tunefleet_worker.training.epochs import score

logger = logging.getLogger(__name__)

OPENINGS = "test-openings.jsonl"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The accuracy of a model, its mean cross-entropy in nats, and the number of samples."""

    accuracy: float
    loss: float
    samples: int
    opening: int | None = field(default=None, compare=False)
    """The number of openings of the test part for this model; None if it was not opened, or cannot be recorded."""


def evaluate_saved_model(folder: Path, *, part: Literal["test", "validation"]) -> Evaluation:
    """Rebuild the model in a folder, and evaluate it on the CPU on one part of the split that it was trained with.

    Raises:
        TestPartSealed: a trial of a search asks for the test part.
        SavedModelError: the folder holds no model, or an unreadable one.
        DataUnavailable: its data set is not available on this machine.
    """
    saved = SavedModel.read(folder)
    network = saved.load(folder)
    samples = open_test_part(saved.data) if part == "test" else load_training_parts(saved.data).validation
    opening = _keep_opening(folder, saved, len(samples)) if part == "test" else None
    result = score(network, saved.standardisation.apply(samples))
    return Evaluation(accuracy=result.accuracy, loss=result.loss, samples=len(samples), opening=opening)


def _keep_opening(folder: Path, saved: SavedModel, n_samples: int) -> int | None:
    """Add a line to the model's list of openings, and return their number."""
    path = folder / OPENINGS
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "dataset": saved.data.dataset, "samples": n_samples}
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return len(path.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        logger.warning("the opening of the test part cannot be recorded in %s: %s", path, error.strerror)
        return None

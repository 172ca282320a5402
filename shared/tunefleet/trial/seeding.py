"""One seed for every global generator that a training run may draw from."""

from __future__ import annotations

import random
import sys

NUMPY_SEEDS = 2**32  # numpy's global generator takes seeds below it


def seed_everything(seed: int) -> None:
    """Seed the global generators of `random`, numpy and torch (CPU and every CUDA device).

    numpy and torch are seeded where they are imported already, and never imported for it.
    """
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % NUMPY_SEEDS)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)

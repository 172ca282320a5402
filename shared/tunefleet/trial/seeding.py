"""Seeding of the global generators that a training may use."""

from __future__ import annotations

import random
import sys

NUMPY_SEEDS = 2**32  # numpy's global generator takes smaller seeds only


def seed_everything(seed: int) -> None:
    """Seed the global generators of `random`, numpy and torch (CPU and every CUDA device).

    numpy and torch are seeded only if they are imported already.
    """
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % NUMPY_SEEDS)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)

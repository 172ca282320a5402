"""One seed reaches every global generator, and imports nothing."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import torch

from tunefleet.trial.seeding import seed_everything


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(1).item()  # noqa: NPY002


def test_the_same_seed_gives_the_same_numbers_everywhere() -> None:
    seed_everything(2**40 + 1)
    first = draw()
    seed_everything(2**40 + 1)
    assert draw() == first
    seed_everything(2)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_seeding_imports_neither_numpy_nor_torch() -> None:
    code = "import sys, tunefleet.trial.seeding as seeding; seeding.seed_everything(1); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {"numpy", "torch"}.isdisjoint(ran.stdout.split())

"""Deterministic training: the same seed gives the same run."""

from __future__ import annotations

import os

import torch

from tunefleet.trial.seeding import seed_everything


def make_deterministic(seed: int) -> None:
    """Seed all global generators, and restrict torch to deterministic operations.

    On the CPU, seeding is enough for the built-in tasks. On a GPU some operations are slower, and an operation without
    a deterministic form raises RuntimeError. Call it before the first use of the GPU: cuBLAS reads its setting once.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    seed_everything(seed)

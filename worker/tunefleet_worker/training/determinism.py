"""The same seed, the same run."""

from __future__ import annotations

import os

import torch

from tunefleet.trial.seeding import seed_everything


def make_deterministic(seed: int) -> None:
    """Seed all global generators, and let torch use only operations whose result does not change from run to run.

    On the CPU, seeding alone does that for the built-in tasks. On a GPU some operations are slower, and one that has no
    deterministic form raises RuntimeError. Call it before the first use of the GPU: cuBLAS reads its setting once.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    seed_everything(seed)

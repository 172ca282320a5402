"""Imported once by the forkserver: what training needs, so that starting a process costs a fork and no import.

Nothing here may touch CUDA or start threads that compute: neither survives a fork.
"""

from __future__ import annotations

import gc

import torch._dynamo  # noqa: F401  (every torch optimizer imports it when it is made, which takes longer than torch itself)

import tunefleet_worker.checkpoints
import tunefleet_worker.preload_lean
import tunefleet_worker.tasks.image_classification
import tunefleet_worker.watching  # noqa: F401
from tunefleet.seeding import seed_everything

# torch notes where it was first seeded, and reads the source files of all callers for it: once here, not in each child.
seed_everything(0)

# What is imported stays: a child's garbage collector need not look at it, and its pages stay shared.
gc.freeze()

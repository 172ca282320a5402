"""Imported once by the forkserver: what a training process needs, so that starting one costs a fork and no import.

Nothing here may touch CUDA or start threads that compute: neither survives a fork.
"""

from __future__ import annotations

import gc
import signal

import torch._dynamo  # noqa: F401  (every torch optimizer imports it when it is made, which takes longer than torch itself)

import tunefleet_worker.child
import tunefleet_worker.tasks.image_classification  # noqa: F401
from tunefleet.seeding import seed_everything

# The agent decides when its helpers end; a SIGTERM for the whole process group must not take them away before.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

# torch notes where it was first seeded, and reads the source files of all callers for it: once here, not in each child.
seed_everything(0)

# What is imported stays: a child's garbage collector need not look at it, and its pages stay shared.
gc.freeze()

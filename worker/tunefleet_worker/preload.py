"""Imported once by the forkserver: what training needs, so that starting a process costs a fork and no import.

Nothing here may touch CUDA or start threads that compute: neither survives a fork.
"""

from __future__ import annotations

import gc
from importlib import import_module

from tunefleet.trial.seeding import seed_everything

MODULES = (
    "torch._dynamo",  # every torch optimizer imports it when it is made, which takes longer than torch itself
    "tunefleet_worker.checkpoints",
    "tunefleet_worker.preload_lean",
    "tunefleet_worker.tasks.image_classification",
    "tunefleet_worker.watching",
)

gc.disable()  # what is imported stays: to walk through it again and again would take a sixth of the time
try:
    for name in MODULES:
        import_module(name)
    # torch notes where it was first seeded, and reads the source files of all callers for it: once, not in each child.
    seed_everything(0)
finally:
    # A child's garbage collector need not look at what is there, and its pages stay shared.
    gc.freeze()
    gc.enable()

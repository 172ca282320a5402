"""Imported once by the forkserver: all modules that training needs, so that a process starts without imports.

Nothing here may initialise CUDA or start compute threads: neither survives a fork.
"""

from __future__ import annotations

import gc
from importlib import import_module

from tunefleet.catalogue.tasks import TASKS
from tunefleet.trial.seeding import seed_everything

MODULES = (
    "torch._dynamo",  # imported by every torch optimizer when it is built; it takes longer to import than torch
    "tunefleet_worker.checkpoints",
    "tunefleet_worker.preload_lean",
    *(f"tunefleet_worker.tasks.{name}" for name in TASKS),
    "tunefleet_worker.watching",
)

gc.disable()  # garbage collection would take a sixth of the import time and find nothing
try:
    for name in MODULES:
        import_module(name)
    # At the first seeding torch reads the source files of all callers: here once, not in each child.
    seed_everything(0)
finally:
    # Children do not collect the imported objects, and share their memory pages.
    gc.freeze()
    gc.enable()

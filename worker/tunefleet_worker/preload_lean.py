"""Imported once by the forkserver of a worker with `--no-preload`: the modules of every trial, without torch."""

from __future__ import annotations

import gc
import signal

import tunefleet_worker.child  # noqa: F401

# The agent ends its helper processes; a SIGTERM for the whole process group must not end them earlier.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

# Children do not collect the imported objects, and share their memory pages.
gc.freeze()

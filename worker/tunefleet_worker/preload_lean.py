"""Imported once by the forkserver of a worker started with `--no-preload`: what every trial needs, and no torch."""

from __future__ import annotations

import gc
import signal

import tunefleet_worker.child  # noqa: F401

# The agent decides when its helpers end; a SIGTERM for the whole process group must not take them away before.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

# What is imported stays: a child's garbage collector need not look at it, and its pages stay shared.
gc.freeze()

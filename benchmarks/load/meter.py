"""The CPU time and the memory of process trees."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds so far, by role, at a moment."""

    at: float
    cpu_s: Mapping[str, float]

    def since(self, earlier: Reading) -> Mapping[str, float]:
        """CPU seconds spent since an earlier reading, by role."""
        return {role: seconds - earlier.cpu_s[role] for role, seconds in self.cpu_s.items()}


@dataclass(frozen=True)
class Meter:
    """A meter of CPU time by role; each role has the ids of the root processes of its trees."""

    roots: Mapping[str, list[int]]

    def read(self) -> Reading:
        """Return the CPU time of all trees, ended children included."""
        return Reading(time.perf_counter(), {role: sum(map(_tree_s, pids)) for role, pids in self.roots.items()})


def rss_mb(pid: int) -> float:
    """Return the resident memory of one process, in megabytes of 1,000,000 bytes."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def _tree_s(pid: int) -> float:
    root = psutil.Process(pid)
    return sum(map(_spent_s, [root, *root.children(recursive=True)]))


def _spent_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system

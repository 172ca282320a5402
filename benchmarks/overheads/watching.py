"""What `trial.watch` costs a training of 100 updates a second, in pairs of a watched and an unwatched part.

Both parts train in one process, in turn, some updates at a time: whatever else the machine does comes to both alike.
The processor time of a thread does not count what others take from it; the wall time does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from tunefleet_worker.watching import Watch

PART = 50  # updates


@dataclass(frozen=True)
class WatchCost:
    """What watched training takes beyond unwatched, as shares of the latter.

    Attributes:
        updates_per_s: of the unwatched training, by processor time.
        processor: the share by the sum of processor times over all parts.
        wall: the share by the median of the pairs' wall times; over a few seconds no better than the machine is quiet.
        updates: how many were watched or could have been.
        watched: how many were.
    """

    updates_per_s: float
    processor: float
    wall: float
    updates: int
    watched: int


class Training:
    """A small network that takes about 10 ms of one core for an update."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)
        self._inputs, self._labels = torch.randn(256, 256), torch.randint(10, (256,))

    def run(self, updates: int) -> None:
        """Take some updates."""
        for _ in range(updates):
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(self._inputs), self._labels).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()


def watch_cost(*, updates: int) -> WatchCost:
    """Train twice side by side, once watched from its first update on; `updates` each, of one thread."""
    torch.set_num_threads(1)
    plain, seen = Training(), Training()
    for each in (plain, seen):
        each.run(5)  # what the first updates load and allocate is not the watch's
    watch = Watch(seen.model, [seen.optimizer])
    pairs = []
    for part in range(updates // PART):
        order = (plain, seen) if part % 2 else (seen, plain)
        times = {id(each): _times(lambda each=each: each.run(PART)) for each in order}  # type: ignore[misc]
        pairs.append((times[id(plain)], times[id(seen)]))
    watch.close()
    bare, watched = (sum(pair[which][0] for pair in pairs) for which in (0, 1))
    return WatchCost(
        updates_per_s=PART * len(pairs) / bare,
        processor=watched / bare - 1,
        wall=statistics.median(pair[1][1] / pair[0][1] for pair in pairs) - 1,
        updates=watch.telemetry().updates,
        watched=watch.n_watched,
    )


def _times(act: Callable[[], None]) -> tuple[float, float]:
    """The thread's processor time and the wall time of an act; seconds."""
    processor, wall = time.thread_time(), time.perf_counter()
    act()
    return time.thread_time() - processor, time.perf_counter() - wall

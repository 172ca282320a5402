"""The overhead of `trial.watch` at 100 updates per second, in pairs of a watched and an unwatched update.

Both trainings run in one process, an update each in turn: whatever else the machine does comes to both alike. Pairs in
which hooks were at work, and those in which an update was only counted, are taken apart, and of each kind the median:
a pause of the machine falls into few pairs and would drown what is looked for. The processor time of a thread does not
count what others take from it; the wall time does.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn

from tunefleet_worker.watching import Watch
from tunefleet_worker.watching.schedule import next_watched

Times = tuple[float, float]

BATCHES = 500  # of an epoch, in which no sample comes twice


@dataclass(frozen=True)
class WatchCost:
    """The extra time of watched training.

    Attributes:
        updates_per_s: of the unwatched training, by processor time.
        processor: the share of the unwatched training's time, by processor time.
        wall: the same by wall time.
        watched_ms: what one watched update costs, by processor time.
        watched: how many updates of all were watched.
    """

    updates_per_s: float
    processor: float
    wall: float
    watched_ms: float
    watched: int


class Training:
    """A small network that takes about 10 ms of one core for an update."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)
        self._epoch, self._labels = torch.randn(BATCHES, 256, 256), torch.randint(10, (256,))
        self._batch = 0

    def run(self, updates: int) -> None:
        """Take some updates."""
        for _ in range(updates):
            inputs = self._epoch[self._batch]
            self._batch = (self._batch + 1) % BATCHES
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(inputs), self._labels).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()


def watch_cost(*, updates: int) -> WatchCost:
    """Train twice side by side, once watched from its first update on; `updates` each, of one thread."""
    torch.set_num_threads(1)
    plain, seen = Training(), Training()
    for each in (plain, seen):
        each.run(20)  # what the first updates load and allocate is not the watch's
    watch = Watch(seen.model, [seen.optimizer])
    pairs = []
    for update in range(updates):
        if update % 2:
            bare, watched = _times(plain), _times(seen)
        else:
            watched, bare = _times(seen), _times(plain)
        pairs.append((bare, watched))
    watch.close()
    (processor, per_update, pace), (wall, _, _) = (_share(pairs, clock) for clock in (0, 1))
    return WatchCost(1 / pace, processor, wall, 1e3 * per_update, watch.n_watched)


def _share(pairs: list[tuple[Times, Times]], clock: int) -> tuple[float, float, float]:
    """The watch's share of the training's time, what one watched update costs, and an unwatched one takes; seconds."""
    kinds: dict[int, list[float]] = {}
    for update, (bare, watched) in enumerate(pairs):
        # The hooks of a watched update are set at the end of the one before: both have a part of its cost.
        kind = (next_watched(update) == update) + 2 * (next_watched(update + 1) == update + 1)
        kinds.setdefault(kind, []).append(watched[clock] - bare[clock])
    extra = {kind: statistics.median(differences) for kind, differences in kinds.items()}
    pace = statistics.median(bare[clock] for bare, _ in pairs)
    total = sum(extra[kind] * len(differences) for kind, differences in kinds.items())
    return total / (pace * len(pairs)), extra[1] + extra[2], pace


def _times(training: Training) -> Times:
    """The thread's processor time and the wall time of an update; seconds."""
    processor, wall = time.thread_time(), time.perf_counter()
    training.run(1)
    return time.thread_time() - processor, time.perf_counter() - wall

"""A bottom-k sketch of the training samples (Broder 1997), to estimate the share of evaluated samples among them.

The sketch keeps the samples with the smallest signatures. Both parts keep the same ones, so a few thousand samples
estimate the share of all.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

MAX_SIGNATURES = 16_384  # kept training signatures
MAX_SAMPLES = 2_000_000  # training samples without a repeat: augmentation makes every sample new
MIN_EVALUATED = 32  # samples for an estimate of their share
MIN_SEEN_SHARE = 0.9
"""From this share of seen samples on, training has visited all samples, and a block is a part of training."""

_MIN_BLOCK_SAMPLES, _MIN_BATCH_SAMPLES = 64, 16
_MIN_NEW_SAMPLES = 100  # new samples before the share of repeats is judged
_MAX_PENDING = 64  # batches with signatures that are not merged yet
_HIGHEST, _LOWEST = torch.iinfo(torch.int64).max, torch.iinfo(torch.int64).min


class SampleBlock:
    """Consecutive evaluated samples, from one batch or from several small ones.

    Attributes:
        batches: positions of its batches among the evaluated ones.
        kept: signatures of its samples that the sketch would keep, int64 (n,).
        seen: True for each of these samples that training has seen, bool (n,).
        share: share of these samples that training has seen.
    """

    def __init__(self, at: int, batches: list[int], *, kept: Tensor, seen: Tensor) -> None:
        self._at, self.batches, self.kept, self.seen = at, batches, kept, seen
        self.share = float(seen.double().mean())

    def is_mixed_with(self, blocks: Sequence[SampleBlock]) -> bool:
        """Return True if some of its batches may belong to training samples evaluated before or after it."""
        neighbours = [blocks[at] for at in (self._at - 1, self._at + 1) if 0 <= at < len(blocks)]
        return len(self.batches) > 1 and any(block.share >= MIN_SEEN_SHARE for block in neighbours)


class SignatureSketch:
    """The smallest signatures of the training samples."""

    def __init__(self) -> None:
        self.is_whole = False
        """True once samples repeat: training has visited all of them."""
        self._n_samples = 0
        self._n_new = self._n_repeated = 0  # since the last check: samples, and repeats among them
        self._pending: list[Tensor] = []
        self._sorted = torch.empty(0, dtype=torch.int64)
        self._bound = _HIGHEST  # signatures below this bound are kept

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return the sketch with a state from `state`."""
        sketch = cls()
        sketch.is_whole, sketch._bound = state["is_whole"], state["bound"]
        sketch._n_samples, sketch._n_new, sketch._n_repeated = state["n"]
        sketch._sorted = torch.from_numpy(np.frombuffer(base64.b64decode(state["kept"]), dtype="<i8").copy())
        return sketch

    def state(self) -> dict[str, Any]:
        """Return the complete state as JSON."""
        self._merge_pending()
        kept = base64.b64encode(self._sorted.numpy().astype("<i8").tobytes()).decode()
        n = [self._n_samples, self._n_new, self._n_repeated]
        return {"is_whole": self.is_whole, "n": n, "bound": self._bound, "kept": kept}

    @property
    def is_too_long(self) -> bool:
        """True after MAX_SAMPLES samples without repeats: give up."""
        return not self.is_whole and self._n_samples >= MAX_SAMPLES

    def has_all_samples(self) -> bool:
        """Return True if training has visited all its samples."""
        self._merge_pending()
        return self.is_whole

    def add(self, batch: Tensor) -> None:
        """Add a training batch."""
        self._pending.append(batch)
        self._n_samples += len(batch)
        if len(self._pending) >= _MAX_PENDING:
            self._merge_pending()

    def blocks_of(self, evaluated: Sequence[Tensor]) -> list[SampleBlock]:
        """Group evaluated batches in blocks: one batch each, or several with few kept samples."""
        lengths = [len(batch) for batch in evaluated]
        every = torch.cat(list(evaluated)).cpu()
        is_kept = every < self._bound
        was_seen = torch.isin(every, self._sorted)
        blocks: list[SampleBlock] = []
        batches: list[int] = []
        parts: list[tuple[Tensor, Tensor]] = []

        def end() -> None:
            if parts:
                kept, seen = (torch.cat(column) for column in zip(*parts, strict=True))
                blocks.append(SampleBlock(len(blocks), [*batches], kept=kept, seen=seen))
            batches.clear()
            parts.clear()

        split = zip(*(torch.split(each, lengths) for each in (every, is_kept, was_seen)), strict=True)
        for at, (batch, kept, seen) in enumerate(split):
            n = int(kept.sum())
            if n >= _MIN_BATCH_SAMPLES:
                end()
            if n:
                batches.append(at)
                parts.append((batch[kept], seen[kept]))
            if n >= _MIN_BATCH_SAMPLES or sum(len(part) for part, _ in parts) >= _MIN_BLOCK_SAMPLES:
                end()
        end()
        return blocks

    def is_covered_by(self, blocks: Sequence[SampleBlock]) -> bool:
        """Return True if the blocks are nearly all of training, or if there are no blocks."""
        if not blocks:
            return True
        return len(torch.unique(torch.cat([block.kept for block in blocks]))) > MIN_SEEN_SHARE * len(self._sorted)

    def share_seen(self, blocks: Sequence[SampleBlock], *, is_all: bool) -> float | None:
        """Return the share of samples that training has seen, minus the share of natural duplicates; None: too few.

        The rate of equal pairs among the evaluated samples gives the expected number of equals in training. If all
        samples were seen, only pairs within a block count, because a loop may evaluate a sample twice on purpose.
        """
        kept = [block.kept for block in blocks]
        seen = torch.cat([block.seen for block in blocks])
        if len(seen) < MIN_EVALUATED:
            return None
        n_equal, n_pairs = map(sum, zip(*map(_pairs, kept if is_all else [torch.cat(kept)]), strict=True))
        expected = len(self._sorted) * n_equal / n_pairs if n_equal else 0.0
        return max(0.0, float(seen.double().mean()) - expected)

    def _merge_pending(self) -> None:
        if not self._pending:
            return
        new = torch.cat(self._pending).cpu()
        self._pending = []
        new = new[new < self._bound]
        self._n_new += len(new)
        self._n_repeated += int(torch.isin(new, self._sorted).sum())
        if self._n_new >= min(_MIN_NEW_SAMPLES, len(self._sorted)):
            self.is_whole |= self._n_repeated >= max(1, MIN_SEEN_SHARE * self._n_new)
            self._n_new = self._n_repeated = 0
        self._sorted = torch.unique(torch.cat([self._sorted, new]))
        while len(self._sorted) > MAX_SIGNATURES:
            self._bound = (self._bound + _LOWEST) // 2
            self._sorted = self._sorted[self._sorted < self._bound]


def _pairs(kept: Tensor) -> tuple[float, float]:
    """Return the number of equal pairs and of all pairs; a whole set that repeats counts once."""
    counts = torch.unique(kept, return_counts=True)[1].double()
    counts = counts / counts.min()
    n = float(counts.sum())
    return float((counts * (counts - 1)).sum()) / 2, n * (n - 1) / 2

"""Which of the samples that are judged were trained on.

Of many samples those with the smallest signatures are kept, in both parts the same, so that a few thousand tell the
share of all (a bottom-k sketch; Broder 1997).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

MAX_SIGNATURES = 16_384  # of training that are kept
MAX_SAMPLES = 2_000_000  # of training among which none comes twice: augmentation makes each of them new
MIN_JUDGED = 32  # samples, of which a share can be told
OF_TRAINING = 0.9
"""The share of seen samples from which training has gone through all, and from which a block is training's own."""

_BLOCK, _PURE = 64, 16
_ENOUGH = 100  # samples among which few come again by chance
_MAX_PENDING = 64  # batches whose signatures lie about until they are sorted in
_HIGHEST, _LOWEST = torch.iinfo(torch.int64).max, torch.iinfo(torch.int64).min


class SampleBlock:
    """Some samples that were judged one after another, of one batch or of several small ones.

    Attributes:
        places: of its batches in the gap.
        kept: their signatures that may be compared.
        share: of them that training has seen.
    """

    def __init__(self, at: int, places: list[int], *, kept: Tensor, seen: Tensor) -> None:
        self._at, self.places, self.kept, self.seen = at, places, kept, seen
        self.share = float(seen.double().mean())

    def is_mixed_with(self, blocks: Sequence[SampleBlock]) -> bool:
        """Whether some of its batches may be of the training samples that were judged before or after it."""
        beside = [blocks[at] for at in (self._at - 1, self._at + 1) if 0 <= at < len(blocks)]
        return len(self.places) > 1 and any(block.share >= OF_TRAINING for block in beside)


class SignatureSketch:
    """The signatures of training, the smallest of them where there are many."""

    def __init__(self) -> None:
        self.is_whole = False
        """Whether the samples come again, so that all have been seen."""
        self._n_samples = 0
        self._n_new = self._n_again = 0  # of late, and how many of them had come before
        self._pending: list[Tensor] = []
        self._sorted_in = torch.empty(0, dtype=torch.int64)
        self._bound = _HIGHEST  # below which signatures are kept

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """What `state` told."""
        known = cls()
        known.is_whole, known._bound = state["is_whole"], state["bound"]
        known._n_samples, known._n_new, known._n_again = state["n"]
        known._sorted_in = torch.from_numpy(np.frombuffer(base64.b64decode(state["kept"]), dtype="<i8").copy())
        return known

    def state(self) -> dict[str, Any]:
        """All of it as JSON."""
        self._sort_in()
        kept = base64.b64encode(self._sorted_in.numpy().astype("<i8").tobytes()).decode()
        n = [self._n_samples, self._n_new, self._n_again]
        return {"is_whole": self.is_whole, "n": n, "bound": self._bound, "kept": kept}

    @property
    def is_too_long(self) -> bool:
        """Whether so many samples came, and none twice, that it is given up."""
        return not self.is_whole and self._n_samples >= MAX_SAMPLES

    def has_all(self) -> bool:
        """Whether training has gone through all its samples."""
        self._sort_in()
        return self.is_whole

    def add(self, batch: Tensor) -> None:
        """Training has seen a batch."""
        self._pending.append(batch)
        self._n_samples += len(batch)
        if len(self._pending) >= _MAX_PENDING:
            self._sort_in()

    def blocks_of(self, gap: Sequence[Tensor]) -> list[SampleBlock]:
        """What was judged, in blocks: a batch each, or several of which few samples are kept."""
        lengths = [len(batch) for batch in gap]
        every = torch.cat(list(gap)).cpu()
        is_kept = every < self._bound
        was_seen = torch.isin(every, self._sorted_in)
        blocks: list[SampleBlock] = []
        places: list[int] = []
        parts: list[tuple[Tensor, Tensor]] = []

        def end() -> None:
            if parts:
                kept, seen = (torch.cat(column) for column in zip(*parts, strict=True))
                blocks.append(SampleBlock(len(blocks), [*places], kept=kept, seen=seen))
            places.clear()
            parts.clear()

        split = zip(*(torch.split(each, lengths) for each in (every, is_kept, was_seen)), strict=True)
        for place, (batch, kept, seen) in enumerate(split):
            n = int(kept.sum())
            if n >= _PURE:
                end()
            if n:
                places.append(place)
                parts.append((batch[kept], seen[kept]))
            if n >= _PURE or sum(len(part) for part, _ in parts) >= _BLOCK:
                end()
        end()
        return blocks

    def is_covered_by(self, blocks: Sequence[SampleBlock]) -> bool:
        """Whether what is judged is training itself, nearly all of it; so nothing is, too."""
        if not blocks:
            return True
        return len(torch.unique(torch.cat([block.kept for block in blocks]))) > OF_TRAINING * len(self._sorted_in)

    def share_seen(self, blocks: Sequence[SampleBlock], *, is_all: bool) -> float | None:
        """Of these the share that training has seen, beyond what equal samples among them explain; None: too few.

        Each sample has as many equals in training as are expected of its number from the pairs of equals among those
        that are judged; where all were seen, from those within a block, since a sample may be judged twice on purpose.
        """
        kept = [block.kept for block in blocks]
        seen = torch.cat([block.seen for block in blocks])
        if len(seen) < MIN_JUDGED:
            return None
        n_equal, n_pairs = map(sum, zip(*map(_pairs, kept if is_all else [torch.cat(kept)]), strict=True))
        by_nature = len(self._sorted_in) * n_equal / n_pairs if n_equal else 0.0
        return max(0.0, float(seen.double().mean()) - by_nature)

    def _sort_in(self) -> None:
        if not self._pending:
            return
        new = torch.cat(self._pending).cpu()
        self._pending = []
        new = new[new < self._bound]
        self._n_new += len(new)
        self._n_again += int(torch.isin(new, self._sorted_in).sum())
        if self._n_new >= min(_ENOUGH, len(self._sorted_in)):
            self.is_whole |= self._n_again >= max(1, OF_TRAINING * self._n_new)
            self._n_new = self._n_again = 0
        self._sorted_in = torch.unique(torch.cat([self._sorted_in, new]))
        while len(self._sorted_in) > MAX_SIGNATURES:
            self._bound = (self._bound + _LOWEST) // 2
            self._sorted_in = self._sorted_in[self._sorted_in < self._bound]


def _pairs(kept: Tensor) -> tuple[float, float]:
    """How many pairs of equal samples there are, and how many pairs; what comes twice as a whole counts once."""
    counts = torch.unique(kept, return_counts=True)[1].double()
    counts = counts / counts.min()
    n = float(counts.sum())
    return float((counts * (counts - 1)).sum()) / 2, n * (n - 1) / 2

"""What a model is given: how large the numbers are, whether validation's are alike, and whether training has seen it.

Samples are compared by signatures: two sums of their bits with random odd weights modulo 2^32, over at most 128 of
their elements (multiplicative hashing; Dietzfelbinger et al. 1997). Those of equal samples are equal; others agree once
in 10^15 times, or where they differ in nothing that was looked at. Of large data sets those with the smallest
signatures are kept, in both parts the same, so that a few thousand tell the share of all (a bottom-k sketch; Broder
1997).

A forward pass in training mode, with gradients, is one of training; every other one judges. What is judged between two
of training belongs together.
"""

from __future__ import annotations

import base64
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from tunefleet.telemetry import INPUT_SCALE, INPUT_SHIFT, VAL_SEEN
from tunefleet_worker.watching.activations import is_compiled, is_training
from tunefleet_worker.watching.measures import OUTPUT_SAMPLE, fetched, sample

MAX_SIGNATURES = 8_192
"""Of training samples that are kept: of 200,000, and ten thousand to judge, about four hundred are compared."""

MAX_SAMPLES = 200_000
"""Of training that are looked at, where none comes twice: augmentation makes each of them new."""

ALL_OF_FIRST, THEN_EVERY = 256, 8
"""Batches of training: of a long epoch a part is enough, and what is seen of validation at least so much."""

MAX_JUDGED = 10_000  # batches, between two of training
MAX_ELEMENTS = 128  # of a sample, evenly spaced
_MAX_BATCHES = 64  # whose signatures lie about until they are sorted in
_MAX_KNOWN_BATCHES = 256
_MOMENT_BATCHES = 16
_HIGHEST, _LOWEST = torch.iinfo(torch.int64).max, torch.iinfo(torch.int64).min
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class InputProbe:
    """Looks at the first tensor that each forward pass is given, for one pass over the training samples.

    Then it takes its hook away: `is_over`. So it does when something goes wrong, which `notes` tell.
    """

    def __init__(self, model: nn.Module) -> None:
        self.is_over = is_compiled(model)  # its code runs no hooks, or would be broken up by them
        self.notes: list[str] = []
        self._known = _Known()
        self._gap: list[Tensor] = []  # signatures of what is judged between two batches of training
        self._trained, self._judged = _Moments(), _Moments()
        self._found: dict[str, float] = {}
        self._is_final = False  # whether validation was compared with all of training
        self._told: dict[str, float] = {}
        self._is_scaled_within = _begins_with_norm(model)
        if not self.is_over:
            self._handle = model.register_forward_pre_hook(self._enter, with_kwargs=True)

    def news(self) -> dict[str, float]:
        """As metrics, what can be said by now and was not said before."""
        if not self.is_over:
            try:
                self._compare()
            except Exception as error:
                self._fail(error)
        news = {name: value for name, value in self._found.items() if self._told.get(name) != value}
        self._told |= news
        return news

    def state(self) -> dict[str, Any]:
        """What `restore` of another process needs, as JSON."""
        said = {"is_over": self.is_over, "found": dict(self._found), "told": dict(self._told)}
        if self.is_over:
            return said
        return {**said, "known": self._known.state(), "trained": self._trained.measured()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another probe of the same training had come to."""
        self._found, self._told = dict(state["found"]), dict(state["told"])
        if state["is_over"]:
            self.close()
        else:
            self._known = _Known.of(state["known"])
            self._trained = _Moments([tuple(each) for each in state["trained"]])

    def close(self) -> None:
        """Take the hook away; safe to call twice."""
        if not self.is_over:
            self.is_over = True
            self._handle.remove()

    def _enter(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = next((each for each in (*args, *kwargs.values()) if isinstance(each, Tensor) and each.dim()), None)
        if inputs is None or not inputs.numel() or torch.compiler.is_compiling():
            return
        if inputs.is_cuda and torch.cuda.is_current_stream_capturing():
            return  # what is captured runs without hooks, and may not wait for a result
        try:
            self._look(inputs, is_judged=not is_training(model))
        except Exception as error:  # no training ends for what watches it
            self._fail(error)

    @torch.no_grad()
    def _look(self, inputs: Tensor, *, is_judged: bool) -> None:
        if is_judged:
            if len(self._gap) < MAX_JUDGED:
                self._judged.add(inputs)
                self._gap.append(signatures(inputs))
            return
        if self._gap:
            self._compare()
            self._gap, self._judged = [], _Moments()
        self._trained.add(inputs)
        if self._known.wants_next():
            self._known.add(signatures(inputs))

    def _compare(self) -> None:
        """Find what can be found by now; the end, once validation was compared with all of training."""
        if INPUT_SCALE not in self._told:
            self._found |= self._of_training()
        if self._gap:
            self._found |= self._of_gap()
        if self._is_final:
            self.close()

    def _of_gap(self) -> dict[str, float]:
        """What the judged samples are beside those of training; empty where none of them are validation's."""
        held_out = self._known.held_out(self._gap)
        if not held_out:
            return {}
        self._is_final = self._known.is_whole
        found = {VAL_SEEN: self._known.share_seen([self._gap[at] for at in held_out])}
        trained, judged = self._trained.typical(), self._judged.typical(held_out)
        if trained is not None and judged is not None and trained[1] > 0 and judged[1] > 0:
            ratio = max(judged[1] / trained[1], trained[1] / judged[1])
            found[INPUT_SHIFT] = max(abs(judged[0] - trained[0]) / trained[1], (ratio - 1) / 2)
        return found

    def _of_training(self) -> dict[str, float]:
        trained = None if self._is_scaled_within else self._trained.typical()
        return {} if trained is None else {INPUT_SCALE: math.hypot(*trained)}

    def _fail(self, error: Exception) -> None:
        self.notes.append(f"what the model is given is looked at no more: {type(error).__name__}: {error}")
        self.close()


def signatures(inputs: Tensor) -> Tensor:
    """(n,) int64, on the inputs' device, of inputs (n, ...): equal for samples that are equal to the bit."""
    flat = inputs.detach().reshape(len(inputs), -1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(len(inputs), -1)
    stride = -(-flat.shape[1] // MAX_ELEMENTS)
    flat = flat[:, :: stride | 1] if stride > 1 else flat
    if flat.is_floating_point():
        flat = flat.to(torch.float32).contiguous().view(torch.int32)
        flat = flat ^ (flat >> 16)  # whole numbers have their low bits zero, and so would have the products
    bits, (first, second) = flat.to(torch.int32), _weights(flat.shape[1], inputs.device)
    high, low = ((bits * weights).sum(1, dtype=torch.int32).to(torch.int64) for weights in (first, second))
    found: Tensor = (high << 32) | (low & 0xFFFF_FFFF)
    return found


@cache
def _weights(n: int, device: torch.device) -> Tensor:
    """(2, n) odd and random, always the same."""
    generator = torch.Generator().manual_seed(0)
    low, high = torch.iinfo(torch.int32).min, torch.iinfo(torch.int32).max
    return (torch.randint(low, high, (2, n), generator=generator, dtype=torch.int32) | 1).to(device)


class _Known:
    """The signatures of training, the smallest of them where there are many."""

    def __init__(self) -> None:
        self.is_whole = False
        """Whether samples come again, so that all have been seen, or there are too many."""
        self._n_batches = self._n_samples = 0
        self._pending: list[Tensor] = []
        self._sorted_in = torch.empty(0, dtype=torch.int64)
        self._bound = _HIGHEST  # below which signatures are kept
        self._batches: set[int] = set()

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """What `state` told."""
        known = cls()
        known.is_whole, known._bound = state["is_whole"], state["bound"]
        known._n_batches, known._n_samples = state["n_batches"], state["n_samples"]
        known._sorted_in = torch.from_numpy(np.frombuffer(base64.b64decode(state["kept"]), dtype="<i8").copy())
        known._batches = set(state["batches"])
        return known

    def state(self) -> dict[str, Any]:
        """All of it as JSON, at most 100 kB."""
        self._sort_in()
        return {
            "is_whole": self.is_whole,
            "n_batches": self._n_batches,
            "n_samples": self._n_samples,
            "bound": self._bound,
            "kept": base64.b64encode(self._sorted_in.numpy().astype("<i8").tobytes()).decode(),
            "batches": sorted(self._batches),
        }

    def wants_next(self) -> bool:
        """Whether the batch that comes next is to be added."""
        self._n_batches += 1
        return not self.is_whole and (self._n_batches <= ALL_OF_FIRST or self._n_batches % THEN_EVERY == 0)

    def add(self, batch: Tensor) -> None:
        """Training has seen a batch."""
        self._pending.append(batch)
        self._n_samples += len(batch)
        if len(self._pending) >= _MAX_BATCHES:
            self._sort_in()

    def held_out(self, judged: Sequence[Tensor]) -> list[int]:
        """The places of the batches that are validation's.

        A batch that was trained on as it stands, or all of which was seen where others were not, is judged on purpose:
        the loss of training in evaluation mode, a graph whose nodes are divided. One that comes again counts once.
        """
        self._sort_in()
        if not self._n_samples:
            return []
        marks = {_mark(batch): at for at, batch in reversed(list(enumerate(judged)))}
        places = sorted(at for mark, at in marks.items() if mark not in self._batches)
        were_seen = {at: seen for at in places if len(seen := self._were_seen(judged[at]))}
        return [at for at, seen in were_seen.items() if not bool(seen.all())] or list(were_seen)

    def share_seen(self, judged: Sequence[Tensor]) -> float:
        """Of these batches the share that training has seen, beyond what equal samples within them explain."""
        share = float(torch.cat([self._were_seen(batch) for batch in judged]).double().mean())
        return max(0.0, share - self._by_nature([self._kept(batch) for batch in judged]))

    def _were_seen(self, batch: Tensor) -> Tensor:
        return torch.isin(self._kept(batch), self._sorted_in)

    def _kept(self, batch: Tensor) -> Tensor:
        return batch[batch < self._bound].cpu()

    def _by_nature(self, judged: Sequence[Tensor]) -> float:
        """An upper bound of the share that has an equal in training because equal samples are usual in these data.

        From how many pairs within a batch are equal, the expected number of equals among so many samples; twice that,
        since few are counted.
        """
        n_pairs = sum(len(batch) * (len(batch) - 1) / 2 for batch in judged)
        counts = [torch.unique(batch, return_counts=True)[1] for batch in judged]
        n_equal = sum(float((each * (each - 1)).sum()) / 2 for each in counts)
        return 2 * len(self._sorted_in) * n_equal / n_pairs if n_equal else 0.0

    def _sort_in(self) -> None:
        if not self._pending:
            return
        batches, self._pending = [batch.cpu() for batch in self._pending], []
        for batch in batches[: _MAX_KNOWN_BATCHES - len(self._batches)]:
            self._batches.add(_mark(batch))
        last = batches[-1][batches[-1] < self._bound]
        comes_again = bool(torch.isin(last, self._sorted_in).double().mean() > 0.5)  # False of none
        self.is_whole = comes_again or self._n_samples >= MAX_SAMPLES
        self._sorted_in = torch.unique(torch.cat([self._sorted_in, *batches]))
        while True:
            self._sorted_in = self._sorted_in[self._sorted_in < self._bound]
            if len(self._sorted_in) <= MAX_SIGNATURES:
                break
            self._bound = (self._bound + _LOWEST) // 2


class _Moments:
    """Mean and variance of the first batches of one kind; what holds no real numbers has none."""

    def __init__(self, known: Sequence[tuple[float, float]] = ()) -> None:
        self._known = list(known)
        self._pending: list[Tensor] = []

    def add(self, inputs: Tensor) -> None:
        """A batch, if it is one of the first."""
        if inputs.is_floating_point() and len(self._known) + len(self._pending) // 2 < _MOMENT_BATCHES:
            numbers = sample(inputs, OUTPUT_SAMPLE).float()
            self._pending += [mean := numbers.mean(), (numbers - mean).square().mean()]

    def measured(self) -> list[tuple[float, float]]:
        """Of each batch."""
        numbers, self._pending = fetched(self._pending), []
        self._known += zip(numbers[::2], numbers[1::2], strict=True)
        return list(self._known)

    def typical(self, places: Collection[int] | None = None) -> tuple[float, float] | None:
        """Mean and standard deviation over some batches, those whose numbers are finite; None: there are none."""
        chosen = [each for at, each in enumerate(self.measured()) if places is None or at in places]
        finite = [each for each in chosen if math.isfinite(sum(each))]
        if not finite:
            return None
        means, variances = zip(*finite, strict=True)
        return statistics.fmean(means), math.sqrt(statistics.fmean(variances) + statistics.pvariance(means))


def _mark(batch: Tensor) -> int:
    """A number for the samples of a batch in their order."""
    return int((batch * _weights(len(batch), batch.device)[0]).sum())


def _begins_with_norm(model: nn.Module) -> bool:
    """Whether the first layer with parameters scales what it is given by itself."""
    first = next((each for each in model.modules() if next(each.parameters(recurse=False), None) is not None), None)
    return isinstance(first, _NORMS)

"""Whether training has seen what a model is judged by, and whether both parts are prepared alike.

It looks at loops that train on batches, judge in evaluation mode or without gradients, and report: what is judged
behind the last batch of training, when that has gone through all its samples, is validation's. Where it is not plain
that a loop is like that, nothing is said.
"""

from __future__ import annotations

import math
import statistics
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tunefleet.protocol.telemetry import INPUT_SHIFT, VAL_SEEN
from tunefleet_worker.watching.activations import is_compiled, is_training
from tunefleet_worker.watching.measures import OUTPUT_SAMPLE, fetched, sample
from tunefleet_worker.watching.signature_sketch import OF_TRAINING, SignatureSketch
from tunefleet_worker.watching.signatures import signatures

MAX_JUDGED = 10_000  # batches between two of training
MAX_REPORTS = 16  # with something to compare, behind which nothing new is to be expected

_MOMENT_BATCHES = 16
_RUNS_TO_TELL = 8


class InputProbe:
    """Looks at what a model is given until it can be told, or it is plain that it cannot.

    Then it takes its hook away: `is_over`. Why nothing can be told stands in `notes`, where it is no matter of course.
    """

    def __init__(self, model: nn.Module) -> None:
        self.is_over = is_compiled(model) or _is_time_first(model)
        self.notes: list[str] = []
        self._known = SignatureSketch()
        self._trained, self._judged = _Moments(), _Moments()
        self._gap: list[Tensor] = []  # signatures of what was judged behind the last batch of training
        self._progress = _Progress()
        self._found: dict[str, float] = {}
        self._told: dict[str, float] = {}
        if not self.is_over:
            self._handle = model.register_forward_pre_hook(_Hook(self._enter), with_kwargs=True)

    def news(self) -> dict[str, float]:
        """As metrics, what can be said by now and was not said before."""
        self._guarded(self._compare)
        news = {name: value for name, value in self._found.items() if self._told.get(name) != value}
        self._told |= news
        return news

    def state(self) -> dict[str, Any]:
        """What `restore` of another process needs, as JSON; at most 200 kB."""
        said: dict[str, Any] = {"found": dict(self._found), "told": dict(self._told)}

        def add_the_rest() -> None:
            rest = {"known": self._known.state(), "trained": self._trained.measured()}
            said.update(rest, progress=self._progress.state())

        self._guarded(add_the_rest)
        return {**said, "is_over": self.is_over}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another probe of the same training had come to."""

        def take() -> None:
            self._found, self._told = dict(state["found"]), dict(state["told"])
            if state["is_over"]:
                self.close()
            else:
                self._known, self._progress = SignatureSketch.of(state["known"]), _Progress(**state["progress"])
                self._trained = _Moments([tuple(each) for each in state["trained"]])

        self._guarded(take)

    def close(self) -> None:
        """Take the hook away; safe to call twice."""
        if not self.is_over:
            self.is_over = True
            self._handle.remove()
            self._gap = []

    def _guarded(self, act: Callable[[], None]) -> None:
        """Act, and give up when that fails: no training ends for what watches it."""
        if self.is_over:
            return
        try:
            act()
        except Exception as error:
            self._give_up(f"{type(error).__name__}: {error}")

    def _give_up(self, why: str) -> None:
        self.notes.append(f"what the model is given is not looked at: {why}")
        self.close()

    def _enter(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch._C._is_tracing() or torch.compiler.is_compiling():
            return
        if self._known.is_whole and is_training(model):
            self._forget_judged()  # and nothing else, in most passes of a training
            return
        self._guarded(lambda: self._look([*_tensors((args, kwargs))], is_judged=not is_training(model)))

    @torch.no_grad()
    def _look(self, inputs: Sequence[Tensor], *, is_judged: bool) -> None:
        if why := _odd(inputs):
            self._give_up(why)
        elif not len(inputs[0]) or any(map(_is_captured, inputs)):
            return
        elif is_judged:
            if self._progress.judges():
                self._give_up("the model judges between single steps of training")
            elif len(self._gap) < MAX_JUDGED:
                self._judged.add(inputs[0])
                self._gap.append(signatures(inputs))
        else:
            self._forget_judged()
            self._trained.add(inputs[0])
            self._known.add(signatures(inputs))
            if self._known.is_too_long:
                self.close()

    def _forget_judged(self) -> None:
        """A batch of training comes: what was judged before it is none of validation's."""
        self._progress.trains()
        if self._gap:
            self._gap, self._judged = [], _Moments()

    @torch.no_grad()
    def _compare(self) -> None:
        """Compare what was judged behind the last batch of training with all of training, once that is known."""
        gap, self._gap = self._gap, []
        judged, self._judged = self._judged, _Moments()
        if not gap or not self._known.has_all():
            return
        blocks = self._known.blocks_of(gap)
        partly = [block for block in blocks if block.share < OF_TRAINING]
        is_all_seen = not partly and not self._known.is_covered_by(blocks)
        is_believed = is_all_seen and self._progress.was_all_seen  # when it is so twice
        self._progress.was_all_seen = is_all_seen
        chosen = blocks if is_believed else [block for block in partly if not block.is_mixed_with(blocks)]
        if not chosen:
            return
        share = self._known.share_seen(chosen, is_all=is_all_seen)
        if share is not None:
            self._found[VAL_SEEN] = share
        places = [place for block in chosen for place in block.places]
        shift = _shift(self._trained.typical(), judged.typical(places))
        if shift is not None:
            self._found[INPUT_SHIFT] = shift
        if self._progress.compares():
            self.close()


class _Hook:
    """A forward pre-hook that is not copied or pickled with the model: nothing takes its place there."""

    def __init__(self, enter: Callable[..., None]) -> None:
        self._enter = weakref.WeakMethod(enter)

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        enter = self._enter()
        if enter is not None:
            enter(model, args, kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """What takes three arguments, does nothing, and needs none of our modules."""
        return getattr, (nullcontext(), "__exit__")


class _Progress:
    """In which order a loop trains, judges and reports."""

    def __init__(self, *, n_runs: int = 0, n_short: int = 0, n_compared: int = 0, was_all_seen: bool = False) -> None:
        self._n_runs, self._n_short, self._n_compared = n_runs, n_short, n_compared
        self._n_trained = 0  # batches since something was judged
        self.was_all_seen = was_all_seen

    def trains(self) -> None:
        """A batch of training comes."""
        self._n_trained += 1

    def judges(self) -> bool:
        """Another batch comes; whether mostly single steps of training lie between those that are judged."""
        if self._n_trained:
            self._n_runs += 1
            self._n_short += self._n_trained == 1
            self._n_trained = 0
        return self._n_runs >= _RUNS_TO_TELL and 2 * self._n_short > self._n_runs

    def compares(self) -> bool:
        """A comparison was made; whether it was the last one."""
        self._n_compared += 1
        return self._n_compared >= MAX_REPORTS

    def state(self) -> dict[str, Any]:
        """The arguments that make it again."""
        counts = {"n_runs": self._n_runs, "n_short": self._n_short, "n_compared": self._n_compared}
        return {**counts, "was_all_seen": self.was_all_seen}


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


def _shift(trained: tuple[float, float] | None, judged: tuple[float, float] | None) -> float | None:
    """How far apart means and deviations are; None where it cannot be told."""
    if trained is None or judged is None or not trained[1] > 0 or not judged[1] > 0:
        return None
    ratio = max(judged[1] / trained[1], trained[1] / judged[1])
    return max(abs(judged[0] - trained[0]) / trained[1], (ratio - 1) / 2)


def _tensors(given: Any) -> Iterator[Tensor]:
    """All tensors of what a model is given, but scalars."""
    if isinstance(given, Tensor):
        if given.dim():
            yield given
    elif isinstance(given, Mapping):
        for name in sorted(given, key=str):
            yield from _tensors(given[name])
    elif isinstance(given, tuple | list):
        for each in given:
            yield from _tensors(each)


def _odd(inputs: Sequence[Tensor]) -> str:
    """Why the rows of these tensors are not samples that can be compared; empty where they may be."""
    if not inputs:
        return "no tensors come"
    if len({len(each) for each in inputs}) > 1:
        return "its tensors are not of one length"
    if all(each.dim() == 1 and not each.is_floating_point() for each in inputs) and len(inputs) == 1:
        return "a number stands for each sample"
    return ""


def _is_captured(inputs: Tensor) -> bool:
    """Whether it is no tensor of now: of a CUDA graph, which runs without hooks, or of torch.func."""
    if inputs.is_cuda and torch.cuda.is_current_stream_capturing():
        return True
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(inputs))


def _is_time_first(model: nn.Module) -> bool:
    """Whether rows may be points in time: layers that read sequences so unless they are told otherwise."""
    kinds = (nn.RNNBase, nn.MultiheadAttention)
    return any(not each.batch_first for each in model.modules() if isinstance(each, kinds))

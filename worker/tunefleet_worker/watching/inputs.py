"""Leakage and shift: the share of validation samples that were trained on, and the shift between both parts' inputs.

The probe supports loops that train on batches, evaluate in evaluation mode or without gradients, and report. Samples
that are evaluated after the last training batch of a complete pass are validation samples. For other loops it reports
nothing.
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
from tunefleet_worker.watching.signature_sketch import MIN_SEEN_SHARE, SignatureSketch
from tunefleet_worker.watching.signatures import signatures

MAX_EVALUATED_BATCHES = 10_000  # between two training batches
MAX_COMPARISONS = 16  # later comparisons are not expected to differ

_MAX_MOMENT_BATCHES = 16
_MIN_RUNS = 8  # of training batches, before the order of a loop is judged


class InputProbe:
    """Examines the inputs of a model until the shares are known, or it is clear that they cannot be.

    Then it removes its hook, and `is_over` is True. `notes` explain a failure, unless the kind of model explains it.
    """

    def __init__(self, model: nn.Module) -> None:
        self.is_over = is_compiled(model) or _is_time_first(model)
        self.notes: list[str] = []
        self._sketch = SignatureSketch()
        self._train_moments, self._evaluated_moments = _Moments(), _Moments()
        self._evaluated: list[Tensor] = []  # signatures of the batches evaluated since the last training batch
        self._loop = _LoopOrder()
        self._metrics: dict[str, float] = {}
        self._reported: dict[str, float] = {}
        if not self.is_over:
            self._handle = model.register_forward_pre_hook(_Hook(self._enter), with_kwargs=True)

    def new_metrics(self) -> dict[str, float]:
        """Return the metrics that have changed since the last call."""
        self._guarded(self._compare)
        new = {name: value for name, value in self._metrics.items() if self._reported.get(name) != value}
        self._reported |= new
        return new

    def state(self) -> dict[str, Any]:
        """Return the state for `restore` in another process, as JSON; at most 200 kB."""
        state: dict[str, Any] = {"found": dict(self._metrics), "told": dict(self._reported)}

        def add_progress() -> None:
            sketch, moments = self._sketch.state(), self._train_moments.measured()
            state.update(known=sketch, trained=moments, progress=self._loop.state())

        self._guarded(add_progress)
        return {**state, "is_over": self.is_over}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of another probe of the same training."""

        def load() -> None:
            self._metrics, self._reported = dict(state["found"]), dict(state["told"])
            if state["is_over"]:
                self.close()
            else:
                self._sketch, self._loop = SignatureSketch.of(state["known"]), _LoopOrder(**state["progress"])
                self._train_moments = _Moments([tuple(each) for each in state["trained"]])

        self._guarded(load)

    def close(self) -> None:
        """Remove the hook; safe to call twice."""
        if not self.is_over:
            self.is_over = True
            self._handle.remove()
            self._evaluated = []

    def _guarded(self, act: Callable[[], None]) -> None:
        """Call `act`, and give up when it raises: a failure of the probe never ends a training."""
        if self.is_over:
            return
        try:
            act()
        except Exception as error:
            self._give_up(f"{type(error).__name__}: {error}")

    def _give_up(self, reason: str) -> None:
        self.notes.append(f"the inputs of the model are not examined: {reason}")
        self.close()

    def _enter(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch._C._is_tracing() or torch.compiler.is_compiling():
            return
        if self._sketch.is_whole and is_training(model):
            self._forget_evaluated()  # the cheap path of most training passes
            return
        self._guarded(lambda: self._examine([*_tensors((args, kwargs))], is_evaluated=not is_training(model)))

    @torch.no_grad()
    def _examine(self, inputs: Sequence[Tensor], *, is_evaluated: bool) -> None:
        if reason := _unsupported(inputs):
            self._give_up(reason)
        elif not len(inputs[0]) or any(map(_is_captured, inputs)):
            return
        elif is_evaluated:
            if self._loop.add_evaluated_batch():
                self._give_up("the model is evaluated between single training steps")
            elif len(self._evaluated) < MAX_EVALUATED_BATCHES:
                self._evaluated_moments.add(inputs[0])
                self._evaluated.append(signatures(inputs))
        else:
            self._forget_evaluated()
            self._train_moments.add(inputs[0])
            self._sketch.add(signatures(inputs))
            if self._sketch.is_too_long:
                self.close()

    def _forget_evaluated(self) -> None:
        """Count a training batch; the batches evaluated before it are not validation batches."""
        self._loop.add_training_batch()
        if self._evaluated:
            self._evaluated, self._evaluated_moments = [], _Moments()

    @torch.no_grad()
    def _compare(self) -> None:
        """Compare the batches evaluated since the last training batch with all of training, once that is known."""
        evaluated, self._evaluated = self._evaluated, []
        moments, self._evaluated_moments = self._evaluated_moments, _Moments()
        if not evaluated or not self._sketch.has_all_samples():
            return
        blocks = self._sketch.blocks_of(evaluated)
        partly = [block for block in blocks if block.share < MIN_SEEN_SHARE]
        is_all_seen = not partly and not self._sketch.is_covered_by(blocks)
        is_confirmed = is_all_seen and self._loop.was_all_seen  # in two comparisons in a row
        self._loop.was_all_seen = is_all_seen
        chosen = blocks if is_confirmed else [block for block in partly if not block.is_mixed_with(blocks)]
        if not chosen:
            return
        share = self._sketch.share_seen(chosen, is_all=is_all_seen)
        if share is not None:
            self._metrics[VAL_SEEN] = share
        batches = [batch for block in chosen for batch in block.batches]
        shift = _shift(self._train_moments.pooled(), moments.pooled(batches))
        if shift is not None:
            self._metrics[INPUT_SHIFT] = shift
        if self._loop.add_comparison():
            self.close()


class _Hook:
    """A forward pre-hook that copies and pickles as a function without effect."""

    def __init__(self, enter: Callable[..., None]) -> None:
        self._enter = weakref.WeakMethod(enter)

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        enter = self._enter()
        if enter is not None:
            enter(model, args, kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return a function of three arguments that does nothing, and needs no module of tunefleet."""
        return getattr, (nullcontext(), "__exit__")


class _LoopOrder:
    """The order in which a loop trains, evaluates and reports."""

    def __init__(self, *, n_runs: int = 0, n_short: int = 0, n_compared: int = 0, was_all_seen: bool = False) -> None:
        self._n_runs, self._n_short, self._n_compared = n_runs, n_short, n_compared
        self._n_trained = 0  # training batches since the last evaluated batch
        self.was_all_seen = was_all_seen

    def add_training_batch(self) -> None:
        """Count a training batch."""
        self._n_trained += 1

    def add_evaluated_batch(self) -> bool:
        """Count an evaluated batch; return True if mostly single training steps lie between evaluated batches."""
        if self._n_trained:
            self._n_runs += 1
            self._n_short += self._n_trained == 1
            self._n_trained = 0
        return self._n_runs >= _MIN_RUNS and 2 * self._n_short > self._n_runs

    def add_comparison(self) -> bool:
        """Count a comparison; return True if it was the last one."""
        self._n_compared += 1
        return self._n_compared >= MAX_COMPARISONS

    def state(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        counts = {"n_runs": self._n_runs, "n_short": self._n_short, "n_compared": self._n_compared}
        return {**counts, "was_all_seen": self.was_all_seen}


class _Moments:
    """Mean and variance of the first batches; inputs that are not floating-point numbers have none."""

    def __init__(self, known: Sequence[tuple[float, float]] = ()) -> None:
        self._known = list(known)
        self._pending: list[Tensor] = []

    def add(self, inputs: Tensor) -> None:
        """Add a batch, if it is one of the first."""
        if inputs.is_floating_point() and len(self._known) + len(self._pending) // 2 < _MAX_MOMENT_BATCHES:
            numbers = sample(inputs, OUTPUT_SAMPLE).float()
            self._pending += [mean := numbers.mean(), (numbers - mean).square().mean()]

    def measured(self) -> list[tuple[float, float]]:
        """Return mean and variance of each batch."""
        numbers, self._pending = fetched(self._pending), []
        self._known += zip(numbers[::2], numbers[1::2], strict=True)
        return list(self._known)

    def pooled(self, batches: Collection[int] | None = None) -> tuple[float, float] | None:
        """Return mean and standard deviation over the batches with finite moments; None if there are none."""
        chosen = [each for at, each in enumerate(self.measured()) if batches is None or at in batches]
        finite = [each for each in chosen if math.isfinite(sum(each))]
        if not finite:
            return None
        means, variances = zip(*finite, strict=True)
        return statistics.fmean(means), math.sqrt(statistics.fmean(variances) + statistics.pvariance(means))


def _shift(trained: tuple[float, float] | None, evaluated: tuple[float, float] | None) -> float | None:
    """Return the larger of the differences in mean and in deviation; None where they are not known."""
    if trained is None or evaluated is None or not trained[1] > 0 or not evaluated[1] > 0:
        return None
    ratio = max(evaluated[1] / trained[1], trained[1] / evaluated[1])
    return max(abs(evaluated[0] - trained[0]) / trained[1], (ratio - 1) / 2)


def _tensors(given: Any) -> Iterator[Tensor]:
    """Yield all tensors in a model's arguments, except scalars."""
    if isinstance(given, Tensor):
        if given.dim():
            yield given
    elif isinstance(given, Mapping):
        for name in sorted(given, key=str):
            yield from _tensors(given[name])
    elif isinstance(given, tuple | list):
        for each in given:
            yield from _tensors(each)


def _unsupported(inputs: Sequence[Tensor]) -> str:
    """Return the reason why the rows of these tensors cannot be compared as samples; empty if they can be."""
    if not inputs:
        return "the model gets no tensors"
    if len({len(each) for each in inputs}) > 1:
        return "the tensors differ in length"
    if all(each.dim() == 1 and not each.is_floating_point() for each in inputs) and len(inputs) == 1:
        return "each sample is a single number"
    return ""


def _is_captured(inputs: Tensor) -> bool:
    """Return True for a tensor in the capture of a CUDA graph, which runs without hooks, or inside torch.func."""
    if inputs.is_cuda and torch.cuda.is_current_stream_capturing():
        return True
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(inputs))


def _is_time_first(model: nn.Module) -> bool:
    """Return True if a layer reads sequences with time as the first axis: rows are then not samples."""
    kinds = (nn.RNNBase, nn.MultiheadAttention)
    return any(not each.batch_first for each in model.modules() if isinstance(each, kinds))

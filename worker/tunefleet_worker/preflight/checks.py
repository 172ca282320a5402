"""What is right and wrong with a training, judged by what was seen of it. Pure.

Thresholds: the loss at the beginning within 20 % of ln(classes), or 1.5 Var(y); accuracy or R2 of 0.99 on the samples
(Karpathy, "A Recipe for Training Neural Networks", 2019); two standard errors between what the model makes of its
inputs and of zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from tunefleet.protocol.preflight import Check
from tunefleet_worker.preflight.fit import FitProgress
from tunefleet_worker.preflight.losses import VALUES, EpochSums

START_OFF = 0.2  # of ln(classes)
START_VARIANCES = 1.5
STANDARD_ERRORS = 2.0
TOO_FEW = 0.5  # of what a blind model gets right: below it, where nobody knows of how many samples
RISEN = 1.05  # of the loss at the beginning
OBEYS_WITHIN = 2.0  # times `trial.limit_data`: a function may round up to whole batches
MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What one run of the function showed; lists are names of tensors or modules."""

    progress: FitProgress
    metrics: Mapping[str, float]
    judged: EpochSums
    n_trained: int
    n_updates: int
    is_finite: bool
    gets_probabilities: bool
    has_optimizer: bool
    inputs_are_alike: bool
    frozen: Sequence[str]
    unreached: Sequence[str]
    unmoved: Sequence[str]
    not_held: Sequence[str]
    stale: Sequence[str]
    idle_statistics: Sequence[str]


@dataclass(frozen=True, slots=True)
class CheckScope:
    """What the check is for.

    Attributes:
        samples: that the function was to train on.
        metric: the study's objective.
        is_task: whether the function is a built-in task, of which more is known.
    """

    samples: int
    metric: str
    is_task: bool


def check_run(seen: RunFacts, asked: CheckScope) -> list[Check]:
    """Everything but what takes another run to see."""
    return [
        *_inputs(seen),
        *_finite(seen),
        *_gradients(seen, asked),
        *_start(seen, asked),
        *_overfit(seen, asked),
    ]


def compare_with_blind(seen: RunFacts, blind: RunFacts, *, asked: CheckScope) -> list[Check]:
    """What the function makes of its inputs, against what it makes of zeros."""
    if seen.progress.measure not in ("accuracy", "R2"):
        return []
    mine, other, n = seen.progress.value, blind.progress.best, asked.samples
    saw = f"{seen.progress.measure} {mine:.3g} on the samples, and {other:.3g} when the model sees zeros"
    error = math.sqrt(max(other * (1 - other), 0.0) / n) if seen.progress.measure == "accuracy" else 0.0
    if mine - other <= STANDARD_ERRORS * error:
        likely = "the inputs reach the model without what tells the samples apart: zeroed, constant or clipped"
        return [Check(code="inputs", passed=False, saw=saw, likely=likely)]
    return [Check(code="inputs", passed=True, saw=saw), *_validation(seen, blind, asked)]


def reloaded(fault: str, *, is_same: bool) -> Check:
    """Whether what was saved gives the same model again."""
    if fault:
        likely = "the objects that are passed to trial.epochs cannot be saved or restored"
        return Check(code="reload", passed=False, saw=f"a checkpoint fails: {fault}"[:1_000], likely=likely)
    if is_same:
        return Check(code="reload", passed=True, saw="a new model with the saved weights gives the same outputs")
    likely = "the model has weights outside of its state_dict (layers in a plain list or dict, buffers not registered)"
    saw = "a new model with the saved weights gives other outputs"
    return Check(code="reload", passed=False, saw=saw, likely=likely)


def _inputs(seen: RunFacts) -> Iterator[Check]:
    if seen.inputs_are_alike:
        likely = "inputs are zeroed, clipped or scaled away before they reach the model"
        saw = "the model gets the same inputs for every sample of a batch"
        yield Check(code="inputs", passed=False, saw=saw, likely=likely)


def _finite(seen: RunFacts) -> Iterator[Check]:
    wrong = [name for name, value in seen.metrics.items() if not math.isfinite(value)]
    if seen.is_finite and not wrong:
        yield Check(code="finite", passed=True, saw="the loss is a number at every update")
        return
    saw = f"{', '.join(wrong[:MAX_NAMED]) or 'the loss'} is no finite number after {seen.n_updates} updates"
    likely = "inputs that are not scaled, a logarithm or division of zero, or the sign of the loss"
    yield Check(code="finite", passed=False, saw=saw, likely=likely)


_ON_THE_WAY = (
    (
        "gradient",
        attrgetter("unreached"),
        "no gradient reaches",
        "a tensor is detached or made under no_grad, gradients are zeroed before the step, or the layer is unused",
    ),
    (
        "optimizer",
        attrgetter("not_held"),
        "the optimizer does not hold",
        "it was made from another model, or before layers were added or replaced",
    ),
    (
        "moved",
        attrgetter("unmoved"),
        "the updates do not change",
        "the learning rate is zero, or the optimizer's step is lost",
    ),
    (
        "cleared",
        attrgetter("stale"),
        "gradients of the last update are still there in",
        "optimizer.zero_grad() is not called",
    ),
    (
        "statistics",
        attrgetter("idle_statistics"),
        "batch normalisation never sees a batch in",
        "model.train() is not called, or model.eval() was called and not taken back",
    ),
)
"""What can be wrong between the loss and the weights: the check, the names of what has it, what is seen, the bug."""


def _gradients(seen: RunFacts, asked: CheckScope) -> Iterator[Check]:
    """One check for each thing that is wrong on the way from the loss to the weights."""
    if not seen.has_optimizer:
        return
    if not seen.n_updates:
        likely = "optimizer.step() is not called, or another optimizer than that of trial.epochs is used"
        yield Check(code="step", passed=False, saw="the optimizer takes no step", likely=likely)
        return
    wrong = [(code, names(seen), what, likely) for code, names, what, likely in _ON_THE_WAY if names(seen)]
    for code, names, what, likely in wrong:
        yield Check(code=code, passed=False, saw=f"{what} {_named(names)}", likely=likely)
    if not wrong:
        yield Check(code="gradient", passed=True, saw="a gradient reaches and moves every trainable tensor")
    if seen.frozen:
        likely = "requires_grad was switched off; leave it so if these weights come from elsewhere"
        saw = f"no gradient is asked for in {_named(seen.frozen)}"
        yield Check(code="frozen", passed=False, blocks=asked.is_task, saw=saw, likely=likely)


def _start(seen: RunFacts, asked: CheckScope) -> Iterator[Check]:
    """The first loss against that of a guess; of a function a doubt, since pretrained models begin better."""
    if seen.gets_probabilities:
        saw = "the loss function gets probabilities and takes logits, or log-probabilities"
        yield Check(code="logits", passed=False, saw=saw, likely="softmax is applied twice; leave it to the loss")
    start = seen.progress.start
    if start is None or start.guess is None:
        return
    if start.kind == VALUES:
        passed = start.loss <= START_VARIANCES * start.guess
        saw = f"the loss begins at {start.loss:.3g}; the variance of the targets is {start.guess:.3g}"
        likely = "targets are not scaled, or the last layer's bias is far from their mean"
    else:
        passed = abs(start.loss - start.guess) <= START_OFF * start.guess
        saw = f"the loss begins at {start.loss:.3g}; a guess among {start.n_classes} classes has {start.guess:.3g}"
        likely = "inputs are not scaled, or the last layer begins too large"
    blocks = asked.is_task
    yield Check(code="start", passed=passed, blocks=blocks, saw=saw, likely="" if passed else likely)


def _overfit(seen: RunFacts, asked: CheckScope) -> Iterator[Check]:
    progress = seen.progress
    if not progress.measure:
        saw = "nothing tells how well the samples are fitted"
        likely = "report train_accuracy, train_r2 or train_loss after each epoch of trial.epochs"
        yield Check(code="overfit", passed=False, saw=saw, likely=likely)
        return
    saw = f"{progress.shown} on {asked.samples} samples after {seen.n_updates} updates"
    likely = "" if progress.has_fitted else _why_not(seen, asked)
    yield Check(code="overfit", passed=progress.has_fitted, saw=saw, likely=likely)


def _why_not(seen: RunFacts, asked: CheckScope) -> str:
    progress = seen.progress
    start = None if progress.start is None else progress.start
    if (start is not None and progress.loss > RISEN * start.loss) or (start is not None and start.loss < 0):
        return "the loss grows: its sign is wrong, or the gradient is added and not subtracted"
    if progress.is_right:
        return "something holds the loss up: a softmax before the loss, label smoothing, or a penalty that is on"
    if seen.n_trained > OBEYS_WITHIN * asked.samples:
        return (
            f"the function trains on {seen.n_trained} samples and not on {asked.samples}; "
            "take the first trial.limit_data of them"
        )
    return (
        "inputs and labels do not belong together (shuffled apart, labels drawn anew), regularisation or augmentation "
        "is on although trial.preflight is True, or no learning rate of the space fits"
    )


def _validation(seen: RunFacts, blind: RunFacts, asked: CheckScope) -> Iterator[Check]:
    """An accuracy on samples that were not trained on, which must not be one that a blind model has, or less."""
    mine, other = seen.metrics.get(asked.metric), blind.metrics.get(asked.metric)
    if "acc" not in asked.metric or mine is None or other is None or not 0 <= mine <= 1 or not 0 < other < 1:
        return
    n = seen.judged.n_told
    is_worse = mine < other - STANDARD_ERRORS * math.sqrt(other * (1 - other) / n) if n else mine < TOO_FEW * other
    is_better = mine > other + STANDARD_ERRORS * math.sqrt(other * (1 - other) / (n or asked.samples))
    saw = f"{asked.metric} {mine:.3g}, and {other:.3g} when the model sees zeros"
    if is_better:
        yield Check(code="validation", passed=True, saw=saw)
        return
    likely = "the two parts do not agree: labels off by one or in another order, labels of another part, other scaling"
    # A weak network may learn nothing that carries over from so few samples: only what is worse than blind is a bug.
    yield Check(code="validation", passed=False, blocks=is_worse, saw=saw, likely=likely)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more

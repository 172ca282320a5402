"""The checks of a training, from the facts of its runs. Pure.

Thresholds: the first loss within 20 % of ln(classes), or at most 1.5 Var(y); accuracy or R2 of 0.99 on the samples
(Karpathy, "A Recipe for Training Neural Networks", 2019); two standard errors between the score with inputs and the
score with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from tunefleet.protocol.preflight import Check
from tunefleet_worker.preflight.fit import FitProgress
from tunefleet_worker.preflight.losses import VALUES, EpochSums

MAX_START_DEVIATION = 0.2  # of ln(classes)
MAX_START_VARIANCES = 1.5
STANDARD_ERRORS = 2.0
MIN_BLIND_SHARE = 0.5  # of a blind model's accuracy: the bound where the number of samples is not known
MAX_LOSS_GROWTH = 1.05  # times the first loss
MAX_LIMIT_FACTOR = 2.0  # times `trial.limit_data`: a function may round up to whole batches
MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts of one run of the function; lists are names of tensors or modules."""

    progress: FitProgress
    metrics: Mapping[str, float]
    evaluated: EpochSums
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
    """The scope of the checks.

    Attributes:
        samples: number of samples to train on.
        metric: the metric of the study's objective.
        is_task: True for a built-in task; some checks then block.
    """

    samples: int
    metric: str
    is_task: bool


def check_run(run: RunFacts, scope: CheckScope) -> list[Check]:
    """Return the checks that need one run."""
    return [
        *_inputs(run),
        *_finite(run),
        *_gradients(run, scope),
        *_start(run, scope),
        *_overfit(run, scope),
    ]


def compare_with_blind(run: RunFacts, blind: RunFacts, *, scope: CheckScope) -> list[Check]:
    """Return the checks that compare a run with one whose inputs are zeros."""
    if run.progress.measure not in ("accuracy", "R2"):
        return []
    mine, other, n = run.progress.value, blind.progress.best, scope.samples
    saw = f"{run.progress.measure} {mine:.3g} on the samples, and {other:.3g} when all inputs are zero"
    error = math.sqrt(max(other * (1 - other), 0.0) / n) if run.progress.measure == "accuracy" else 0.0
    if mine - other <= STANDARD_ERRORS * error:
        likely = (
            "the inputs do not distinguish the samples when they reach the model: they are zeroed, constant or clipped"
        )
        return [Check(code="inputs", passed=False, saw=saw, likely=likely)]
    return [Check(code="inputs", passed=True, saw=saw), *_validation(run, blind, scope)]


def check_reload(fault: str, *, is_same: bool) -> Check:
    """Return the check that a saved model gives the same outputs after loading."""
    if fault:
        likely = "the objects passed to trial.epochs cannot be saved or restored"
        return Check(code="reload", passed=False, saw=f"a checkpoint fails: {fault}"[:1_000], likely=likely)
    if is_same:
        return Check(code="reload", passed=True, saw="a new model with the saved weights gives the same outputs")
    likely = "the model has weights outside of its state_dict (layers in a plain list or dict, buffers not registered)"
    saw = "a new model with the saved weights gives other outputs"
    return Check(code="reload", passed=False, saw=saw, likely=likely)


def _inputs(run: RunFacts) -> Iterator[Check]:
    if run.inputs_are_alike:
        likely = "inputs are zeroed, clipped or scaled away before they reach the model"
        saw = "the model gets the same inputs for every sample of a batch"
        yield Check(code="inputs", passed=False, saw=saw, likely=likely)


def _finite(run: RunFacts) -> Iterator[Check]:
    wrong = [name for name, value in run.metrics.items() if not math.isfinite(value)]
    if run.is_finite and not wrong:
        yield Check(code="finite", passed=True, saw="the loss is a number at every update")
        return
    saw = f"{', '.join(wrong[:MAX_NAMED]) or 'the loss'} is no finite number after {run.n_updates} updates"
    likely = "inputs that are not scaled, a logarithm or division of zero, or the sign of the loss"
    yield Check(code="finite", passed=False, saw=saw, likely=likely)


_GRADIENT_FAULTS = (
    (
        "gradient",
        attrgetter("unreached"),
        "no gradient reaches",
        "a tensor is detached or computed under no_grad, gradients are zeroed before the step, or the layer is unused",
    ),
    (
        "optimizer",
        attrgetter("not_held"),
        "the optimizer does not hold",
        "it was created from another model, or before layers were added or replaced",
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
        "model.train() is not called, or not called again after model.eval()",
    ),
)
"""Possible faults between the loss and the weights: the check, the affected names, the observation, the likely bug."""


def _gradients(run: RunFacts, scope: CheckScope) -> Iterator[Check]:
    """Yield one check for each fault between the loss and the weights."""
    if not run.has_optimizer:
        return
    if not run.n_updates:
        likely = "optimizer.step() is not called, or another optimizer than that of trial.epochs is used"
        yield Check(code="step", passed=False, saw="the optimizer takes no step", likely=likely)
        return
    wrong = [(code, names(run), what, likely) for code, names, what, likely in _GRADIENT_FAULTS if names(run)]
    for code, names, what, likely in wrong:
        yield Check(code=code, passed=False, saw=f"{what} {_named(names)}", likely=likely)
    if not wrong:
        yield Check(code="gradient", passed=True, saw="a gradient reaches and moves every trainable tensor")
    if run.frozen:
        likely = "requires_grad is off; that is right for pretrained weights"
        saw = f"no gradient is computed for {_named(run.frozen)}"
        yield Check(code="frozen", passed=False, blocks=scope.is_task, saw=saw, likely=likely)


def _start(run: RunFacts, scope: CheckScope) -> Iterator[Check]:
    """Compare the first loss with that of a guess; it blocks only tasks, because pretrained models start better."""
    if run.gets_probabilities:
        saw = "the loss function gets probabilities, and expects logits or log-probabilities"
        yield Check(code="logits", passed=False, saw=saw, likely="softmax is applied twice; leave it to the loss")
    start = run.progress.start
    if start is None or start.guess is None:
        return
    if start.kind == VALUES:
        passed = start.loss <= MAX_START_VARIANCES * start.guess
        saw = f"the loss begins at {start.loss:.3g}; the variance of the targets is {start.guess:.3g}"
        likely = "targets are not scaled, or the last layer's bias is far from their mean"
    else:
        passed = abs(start.loss - start.guess) <= MAX_START_DEVIATION * start.guess
        saw = f"the loss begins at {start.loss:.3g}; a guess among {start.n_classes} classes has {start.guess:.3g}"
        likely = "inputs are not scaled, or the last layer's initial weights are too large"
    blocks = scope.is_task
    yield Check(code="start", passed=passed, blocks=blocks, saw=saw, likely="" if passed else likely)


def _overfit(run: RunFacts, scope: CheckScope) -> Iterator[Check]:
    progress = run.progress
    if not progress.measure:
        saw = "no loss or metric shows how well the samples are fitted"
        likely = "report train_accuracy, train_r2 or train_loss after each epoch of trial.epochs"
        yield Check(code="overfit", passed=False, saw=saw, likely=likely)
        return
    saw = f"{progress.shown} on {scope.samples} samples after {run.n_updates} updates"
    likely = "" if progress.has_fitted else _why_not(run, scope)
    yield Check(code="overfit", passed=progress.has_fitted, saw=saw, likely=likely)


def _why_not(run: RunFacts, scope: CheckScope) -> str:
    progress = run.progress
    start = progress.start
    if (start is not None and progress.loss > MAX_LOSS_GROWTH * start.loss) or (start is not None and start.loss < 0):
        return "the loss grows: its sign is wrong, or the gradient is added instead of subtracted"
    if progress.is_right:
        return "the loss stays high: a softmax before the loss, label smoothing, or a penalty"
    if run.n_trained > MAX_LIMIT_FACTOR * scope.samples:
        return (
            f"the function trains on {run.n_trained} samples instead of {scope.samples}; "
            "use the first trial.limit_data of them"
        )
    return (
        "inputs and labels do not match (shuffled separately, random labels), regularisation or augmentation "
        "is on although trial.preflight is True, or no learning rate in the space works"
    )


def _validation(run: RunFacts, blind: RunFacts, scope: CheckScope) -> Iterator[Check]:
    """Check the validation accuracy, which must exceed that of a model that gets zeros."""
    mine, other = run.metrics.get(scope.metric), blind.metrics.get(scope.metric)
    if "acc" not in scope.metric or mine is None or other is None or not 0 <= mine <= 1 or not 0 < other < 1:
        return
    n = run.evaluated.n_classified
    is_worse = (
        mine < other - STANDARD_ERRORS * math.sqrt(other * (1 - other) / n) if n else mine < MIN_BLIND_SHARE * other
    )
    is_better = mine > other + STANDARD_ERRORS * math.sqrt(other * (1 - other) / (n or scope.samples))
    saw = f"{scope.metric} {mine:.3g}, and {other:.3g} when all inputs are zero"
    if is_better:
        yield Check(code="validation", passed=True, saw=saw)
        return
    likely = "the two parts differ: labels off by one, in another order or of another part, or another scaling"
    # A weak network may not generalise from so few samples: only a score below that of zeros is a bug.
    yield Check(code="validation", passed=False, blocks=is_worse, saw=saw, likely=likely)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more

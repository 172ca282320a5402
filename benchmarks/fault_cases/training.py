"""The training of one fault case."""

from __future__ import annotations

import copy
import math

import torch
from benchmarks.fault_cases.data import Data, load
from benchmarks.fault_cases.fault_case import FaultCase, Settings
from benchmarks.fault_cases.faults import FAULTS, Fault
from benchmarks.fault_cases.instruments import UpdateRatios, calibration_error, dead_share
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tunefleet.protocol.telemetry import INPUT_SCALE
from tunefleet_worker.tasks.image_classification import SAMPLES_AGAIN
from tunefleet_worker.tasks.models import ModelConfig, build_model
from tunefleet_worker.training.epochs import shuffled_batches
from tunefleet_worker.training.samples import Samples
from tunefleet_worker.watching.activations import ActivationProbe
from tunefleet_worker.watching.inputs import InputProbe

MOMENTUM = 0.9
Curve = list[dict[str, float]]


def trained(case: FaultCase) -> tuple[Curve, dict[str, float]]:
    """Return the metrics of each epoch, and the typical update ratio of each weight tensor.

    Training ends early when the loss is NaN or infinite, as in the built-in tasks.
    """
    fault = FAULTS[case.fault] if case.fault is not None else Fault()
    settings = fault.settings(case).settings
    torch.manual_seed(case.seed)
    data = fault.data(load(case.dataset), torch.Generator().manual_seed(case.seed))
    network = fault.network(_built(settings, data))
    optimizer = _optimizer(settings, network, forgets=fault.forgets)
    again = data.train.drawn(SAMPLES_AGAIN * len(data.validation))
    schedule = LambdaLR(optimizer, lambda epoch: _share_of_rate(settings, epoch))
    scale = _input_scale(network, data.train, settings.batch_size)
    ratios, given = UpdateRatios(network), InputProbe(network)
    curve: Curve = []
    for _ in range(settings.epochs):
        learned = _epoch(network, data.train, optimizer=optimizer, ratios=ratios, fault=(fault, settings))
        judged = _judged(network, data.validation, in_evaluation=fault.evaluates)
        learned["train_eval_loss"] = _judged(network, again, in_evaluation=fault.evaluates)["val_loss"]
        curve.append({**learned, **judged, "watch.update_ratio": ratios.of_epoch(), **given.new_metrics(), **scale})
        schedule.step()
        if not all(math.isfinite(curve[-1][name]) for name in ("train_loss", "val_loss")):
            break
    return curve, ratios.typical()


def _built(settings: Settings, data: Data) -> nn.Sequential:
    network = build_model(
        ModelConfig(
            kind=settings.kind,
            input_shape=tuple(data.train.inputs.shape[1:]),
            classes=data.classes,
            depth=settings.depth,
            width=settings.width,
            activation=settings.activation,
            dropout=settings.dropout,
            normalization=settings.normalization,
            residual=settings.residual,
        )
    )
    assert isinstance(network, nn.Sequential)
    return network


def _optimizer(settings: Settings, network: nn.Module, *, forgets: bool) -> Optimizer:
    weights = list(network.parameters())
    if forgets:
        forgotten = [weight for weight in weights if weight.dim() >= 2][1]
        weights = [weight for weight in weights if weight is not forgotten]
    if settings.optimizer == "sgd":
        return SGD(weights, lr=settings.lr, momentum=MOMENTUM, weight_decay=settings.weight_decay)
    return AdamW(weights, lr=settings.lr, weight_decay=settings.weight_decay)


def _share_of_rate(settings: Settings, epoch: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs)) if settings.anneals else 1.0


def _epoch(
    network: nn.Module, samples: Samples, *, optimizer: Optimizer, ratios: UpdateRatios, fault: tuple[Fault, Settings]
) -> dict[str, float]:
    """Train one epoch; the loss is the mean over its batches, each taken before its step."""
    bug, settings = fault
    network.train()
    n = len(samples.labels)
    batches = list(shuffled_batches(n, settings.batch_size))
    if not bug.shuffles:
        batches = list(torch.split(torch.arange(n), settings.batch_size))
    ratios.begin_epoch(len(batches))
    loss_sum, n_right = 0.0, 0
    for step, batch in enumerate(batches):
        labels = samples.labels[batch]
        logits = network(samples.inputs[batch])
        loss = bug.loss(logits, labels, network)
        if bug.clears_gradients:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        with ratios.around(step):
            optimizer.step()
        loss_sum += loss.item() * len(batch)
        n_right += int((logits.argmax(1) == labels).sum())
    return {"train_loss": loss_sum / n, "train_accuracy": n_right / n}


def _input_scale(network: nn.Module, samples: Samples, n: int) -> dict[str, float]:
    """Return the input scale of the first batch; leave the network and the random state as they were."""
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    probe = ActivationProbe(network.train())
    network(samples.inputs[:n])
    probe.close()
    network.load_state_dict(state)
    torch.set_rng_state(random)
    scale = probe.input_scale()
    return {} if scale is None else {INPUT_SCALE: scale}


@torch.no_grad()
def _judged(network: nn.Module, samples: Samples, *, in_evaluation: bool) -> dict[str, float]:
    network.train(not in_evaluation)
    logits: Tensor = network(samples.inputs)
    loss = functional.cross_entropy(logits, samples.labels).item()
    accuracy = float((logits.argmax(1) == samples.labels).to(torch.float64).mean())
    dead = dead_share(network, samples.inputs)
    known = {} if dead is None else {"watch.dead_units": dead}
    error = {"val_ece": calibration_error(logits, samples.labels)} if math.isfinite(loss) else {}
    return {"val_loss": loss, "val_accuracy": accuracy, **error, **known}

"""A typical training function with one planted bug."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from tunefleet.trial.trial import Trial
from tunefleet_worker.tasks.datasets.parts import DataChoice, load_training_parts

CLASSES = 10


class Net(nn.Module):
    """A network of body and head, with optional faults between them."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64))
        layers = [nn.ReLU(), nn.Linear(64, CLASSES)]
        self.head = nn.Sequential(*layers)
        self.loose = [nn.Linear(64, 64)] if fault == "weights outside of the state" else []

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.body(inputs)
        for layer in self.loose:
            hidden = layer(hidden)
        if self.fault == "detached head":
            hidden = hidden.detach()
        logits: Tensor = self.head(hidden)
        return logits.softmax(1) if self.fault == "softmax twice" else logits


def training(fault: str) -> Callable[..., None]:
    """Return the function with this bug; an empty name means no bug."""
    return partial(_train, fault=fault)


def _train(trial: Trial, lr: float = 1e-2, batch_size: int = 32, *, fault: str) -> None:
    parts = load_training_parts(DataChoice(dataset="digits"))
    train, held_out = (parts.standardisation.apply(part) for part in (parts.train, parts.validation))
    inputs, labels = train.inputs[: trial.limit_data], train.labels[: trial.limit_data]
    if fault == "limit ignored":
        inputs, labels = train.inputs, torch.randint(0, CLASSES, (len(train),))
    labels, inputs = _labels(labels, held_out.labels, fault=fault), _inputs(inputs, fault=fault)
    model = Net(fault)
    if fault == "frozen layer":
        model.body[1].requires_grad_(False)
    optimizer = _optimizer(model, lr, fault=fault)
    for _ in trial.epochs(model=model, optimizer=optimizer):
        model.train(fault != "never in training mode")
        for index in torch.randperm(len(labels)).split(batch_size):
            target = labels[index]
            if fault == "labels shuffled between batches":
                target = target[torch.randperm(len(target))]
            _update(model, optimizer, inputs[index], target, fault=fault)
        model.eval()
        with torch.no_grad():
            accuracy = (model(held_out.inputs[:256]).argmax(1) == held_out.labels[:256]).float().mean()
        trial.report(val_accuracy=accuracy)


def _update(model: nn.Module, optimizer: Optimizer, inputs: Tensor, target: Tensor, *, fault: str) -> None:
    if fault != "no zero_grad":
        optimizer.zero_grad()
    loss = functional.cross_entropy(model(inputs), target)
    if fault == "division by zero":
        loss = loss / (loss - loss)
    loss = -loss if fault == "loss with the wrong sign" else loss
    loss.backward()
    if fault == "gradients zeroed before the step":
        optimizer.zero_grad()
    if fault == "gradients of a layer zeroed":
        for parameter in model.body[1].parameters():  # type: ignore[union-attr, index]
            parameter.grad.zero_()
    if fault != "no step":
        optimizer.step()


def _labels(labels: Tensor, others: Tensor, *, fault: str) -> Tensor:
    if fault == "labels off by one":
        return (labels + 1) % CLASSES
    if fault == "labels of the validation part":
        return others[: len(labels)]
    return labels


def _inputs(inputs: Tensor, *, fault: str) -> Tensor:
    if fault == "inputs zeroed":
        return torch.zeros_like(inputs)
    return inputs


def _optimizer(model: nn.Module, lr: float, *, fault: str) -> Optimizer:
    parameters: Any = list(model.parameters())
    if fault == "optimizer of another model":
        parameters = list(Net("").parameters())
    if fault == "optimizer of the head only":
        parameters = list(model.head.parameters())  # type: ignore[union-attr]
    return torch.optim.Adam(parameters, lr=0.0 if fault == "learning rate zero" else lr)

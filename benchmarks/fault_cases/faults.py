"""Sixteen bugs and bad settings, each planted into an otherwise healthy training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from benchmarks.fault_cases.data import Data
from benchmarks.fault_cases.fault_case import FaultCase, changed
from torch import Tensor, nn
from torch.nn import functional

from tunefleet_worker.training.samples import Samples

RATE_TOO_HIGH, RATE_TOO_LOW = 30.0, 0.01
TINY = 60  # training samples
PENALTY = 1e-2  # times the sum of squares, with the wrong sign
INPUT_SCALE, INPUT_SHIFT = 100.0, 100.0
DEAD_BIAS = -10.0  # of hidden units, whose inputs before it have a deviation of about 1: at -3 they come back
STRONG_DECAY = 10.0  # the healthy ones are 1e-4 and 1e-3

Loss = Callable[[Tensor, Tensor, nn.Module], Tensor]
"""Of logits and labels of a batch, and of the network."""


def _cross_entropy(logits: Tensor, labels: Tensor, _network: nn.Module) -> Tensor:
    """As it should be."""
    return functional.cross_entropy(logits, labels)


@dataclass(frozen=True)
class Fault:
    """A fault; fields that are not given keep their correct value.

    Attributes:
        signs: codes of the findings by which it is known; any of them names it.
        settings: changes how is trained. data: what on; the generator is the run's own. network: what.
        loss: that is minimised and reported.
        forgets: whether a weight tensor is not handed to the optimizer.
        clears_gradients, shuffles, evaluates: whether these three are done in each step, epoch and evaluation.
    """

    signs: tuple[str, ...] = ()
    settings: Callable[[FaultCase], FaultCase] = lambda case: case
    data: Callable[[Data, torch.Generator], Data] = lambda data, _generator: data
    network: Callable[[nn.Sequential], nn.Module] = lambda network: network
    loss: Loss = _cross_entropy
    forgets: bool = False
    clears_gradients: bool = True
    shuffles: bool = True
    evaluates: bool = True


def _scaled_rate(factor: float) -> Callable[[FaultCase], FaultCase]:
    return lambda case: changed(case, lr=case.settings.lr * factor)


def _shuffled(data: Data, generator: torch.Generator) -> Data:
    """Shuffle the labels against the inputs, in both parts."""
    return data.with_parts(*(_out_of_step(part, generator) for part in (data.train, data.validation)))


def _out_of_step(samples: Samples, generator: torch.Generator) -> Samples:
    return Samples(samples.inputs, samples.labels[torch.randperm(len(samples.labels), generator=generator)])


def _leaked(data: Data, _generator: torch.Generator) -> Data:
    """Add the validation samples to the training samples."""
    both = (torch.cat(pair) for pair in zip(_tensors(data.train), _tensors(data.validation), strict=True))
    return data.with_parts(Samples(*both), data.validation)


def _tensors(samples: Samples) -> tuple[Tensor, Tensor]:
    return samples.inputs, samples.labels


def _raw(samples: Samples) -> Samples:
    """Undo the standardisation: inputs on a scale of hundreds."""
    return Samples(samples.inputs * INPUT_SCALE + INPUT_SHIFT, samples.labels)


def _sorted(samples: Samples) -> Samples:
    order = samples.labels.argsort(stable=True)
    return Samples(samples.inputs[order], samples.labels[order])


def _few(data: Data, _generator: torch.Generator) -> Data:
    return data.with_parts(Samples(data.train.inputs[:TINY], data.train.labels[:TINY]), data.validation)


def _huge(case: FaultCase) -> FaultCase:
    """Make the network eight times as wide and unregularised, with the updates of the whole data set."""
    width = 8 * case.settings.width if case.settings.kind == "mlp" else 3 * case.settings.width
    return changed(case, width=width, dropout=0.0, weight_decay=0.0, epochs=60, batch_size=16)


class _Detached(nn.Module):
    """A network with a detached body: only the head learns."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(*list(network)[:-1]), network[-1]

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.body(inputs).detach()))


def _killed(network: nn.Sequential) -> nn.Module:
    """Set biases of hidden units so low that the units are dead."""
    for layer in list(network)[:-1]:
        bias = getattr(layer, "bias", None)
        if bias is not None:
            nn.init.constant_(bias, DEAD_BIAS)
    return network


def _rewarded(logits: Tensor, labels: Tensor, network: nn.Module) -> Tensor:
    """Return the loss with the penalty subtracted."""
    squares = torch.stack([weight.square().sum() for weight in network.parameters()]).sum()
    return functional.cross_entropy(logits, labels) - PENALTY * squares


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "labels_shuffled": Fault(signs=("nothing_learned", "nothing_carries_over", "overfit"), data=_shuffled),
        "rate_30x_too_high": Fault(
            signs=("diverged", "rate_too_high", "update_ratio"), settings=_scaled_rate(RATE_TOO_HIGH)
        ),
        "rate_100x_too_low": Fault(
            signs=("rate_too_low", "nothing_learned", "update_ratio"), settings=_scaled_rate(RATE_TOO_LOW)
        ),
        "softmax_twice": Fault(
            signs=("loss_beside_accuracy",), network=lambda network: nn.Sequential(*network, nn.Softmax(dim=1))
        ),
        "gradients_not_zeroed": Fault(signs=("rate_too_high", "diverged", "update_ratio"), clears_gradients=False),
        "frozen_layer": Fault(signs=("layers_apart",), forgets=True),
        "detached_head": Fault(signs=("layers_apart",), network=_Detached),
        "validation_in_training": Fault(signs=("leak", "no_gap", "validation_below_training"), data=_leaked),
        "inputs_x100": Fault(
            signs=("inputs_unscaled", "loss_beside_accuracy", "diverged", "rate_too_high", "layers_apart"),
            settings=lambda case: changed(case, normalization="none"),
            data=lambda data, _generator: data.with_parts(_raw(data.train), _raw(data.validation)),
        ),
        "dead_relus": Fault(
            signs=("dead_units", "nothing_learned"),
            settings=lambda case: changed(case, activation="relu"),
            network=_killed,
        ),
        "tiny_data_huge_net": Fault(signs=("overfit",), settings=_huge, data=_few),
        "penalty_wrong_sign": Fault(signs=("negative_loss", "diverged"), loss=_rewarded),
        "evaluation_in_train_mode": Fault(
            signs=("dropout_in_validation", "noisy_validation"),
            settings=lambda case: changed(case, dropout=0.5),
            evaluates=False,
        ),
        "validation_not_standardised": Fault(
            signs=("inputs_shifted", "overfit", "nothing_carries_over"),
            data=lambda data, _generator: data.with_parts(data.train, _raw(data.validation)),
        ),
        "not_shuffled": Fault(
            signs=("not_shuffled", "rate_too_high", "validation_below_training"),
            data=lambda data, _generator: data.with_parts(_sorted(data.train), data.validation),
            shuffles=False,
        ),
        "decay_too_strong": Fault(
            signs=("underfit", "nothing_learned"),
            settings=lambda case: changed(case, weight_decay=STRONG_DECAY),
        ),
    }
)

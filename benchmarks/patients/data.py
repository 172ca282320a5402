"""Four small data sets, of ten classes or eight, each in a training and a validation part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import torch
from torch.nn import functional

from tunefleet.spec import DataSpec
from tunefleet_worker.tasks.datasets.parts import DataChoice, load_training_parts
from tunefleet_worker.training.samples import Samples

N_TRAIN, N_VALIDATION = 1_600, 500  # at most; digits is smaller
WAVE_CLASSES, WAVE_LENGTH, WAVE_NOISE = 8, 40, 0.5


@dataclass(frozen=True)
class Data:
    """What a training sees; inputs (n, channels, ...) are standardised."""

    train: Samples
    validation: Samples
    classes: int

    def with_parts(self, train: Samples, validation: Samples) -> Data:
        """Other samples of the same classes."""
        return replace(self, train=train, validation=validation)


def load(name: str) -> Data:
    """A data set by its name. Raises DataUnavailable where Fashion-MNIST is not installed."""
    return DATASETS[name]()


@cache
def _built_in(name: str, *, halved: bool = False) -> Data:
    parts = load_training_parts(DataChoice(dataset=name, spec=DataSpec(seed=0)))
    train, validation = (parts.standardisation.apply(part) for part in (parts.train, parts.validation))
    train, validation = train.drawn(N_TRAIN), validation.drawn(N_VALIDATION)
    if halved:
        train, validation = (Samples(functional.avg_pool2d(p.inputs, 2), p.labels) for p in (train, validation))
    return Data(train, validation, len(parts.classes))


@cache
def _waves() -> Data:
    """Sines and squares of four frequencies each, with random phases and heights, in noise."""
    generator = torch.Generator().manual_seed(0)
    n = N_TRAIN + N_VALIDATION
    labels = torch.randint(WAVE_CLASSES, (n,), generator=generator)
    phase = 2 * math.pi * torch.rand(n, 1, generator=generator)
    height = 0.5 + torch.rand(n, 1, generator=generator)
    frequency = 1.5 + (labels // 2).unsqueeze(1)
    wave = torch.sin(2 * math.pi * frequency * torch.linspace(0, 1, WAVE_LENGTH) + phase)
    wave = torch.where(labels.unsqueeze(1) % 2 == 0, wave, wave.sign())
    inputs = (height * wave + WAVE_NOISE * torch.randn(n, WAVE_LENGTH, generator=generator)).unsqueeze(1)
    train = Samples(inputs[:N_TRAIN], labels[:N_TRAIN])
    return Data(train, Samples(inputs[N_TRAIN:], labels[N_TRAIN:]), WAVE_CLASSES)


DATASETS: Mapping[str, Callable[[], Data]] = MappingProxyType(
    {
        "mnist1d": lambda: _built_in("mnist1d"),
        "waves": _waves,
        "digits": lambda: _built_in("digits"),
        "fashion_mnist": lambda: _built_in("fashion_mnist", halved=True),
    }
)

"""Eight small data sets, of six to ten classes, each in a training and a validation part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from tunefleet.study.spec import DataSpec
from tunefleet_worker.tasks.datasets.parts import DataChoice, load_training_parts
from tunefleet_worker.training.samples import Samples

N_TRAIN, N_VALIDATION = 1_600, 500  # at most; digits is smaller
WAVE_CLASSES, WAVE_LENGTH, WAVE_NOISE = 8, 40, 0.5
CHIRP_CLASSES, CHIRP_LENGTH, CHIRP_NOISE = 6, 48, 0.6
SHAPE_CLASSES, SHAPE_SIDE, SHAPE_NOISE = 6, 12, 0.3
PULSE_CLASSES, PULSE_LENGTH, PULSE_NOISE = 6, 44, 0.3
GRATING_CLASSES, GRATING_SIDE, GRATING_NOISE = 8, 10, 0.7


@dataclass(frozen=True)
class Data:
    """The samples of a training; inputs (n, channels, ...) are standardised."""

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
    return _divided(inputs, labels, WAVE_CLASSES)


@cache
def _chirps() -> Data:
    """Tones that rise or fall, and swell, fade or do neither, in noise."""
    generator = torch.Generator().manual_seed(1)
    n = N_TRAIN + N_VALIDATION
    labels = torch.randint(CHIRP_CLASSES, (n,), generator=generator)
    t = torch.linspace(0, 1, CHIRP_LENGTH)
    low, high = (a + b * torch.rand(n, 1, generator=generator) for a, b in ((1.0, 1.5), (5.0, 2.0)))
    rises = (labels % 2 == 0).unsqueeze(1)
    sweep = torch.where(rises, low + (high - low) * t / 2, high - (high - low) * t / 2)  # integrated over time
    tone = torch.sin(2 * math.pi * (sweep * t + torch.rand(n, 1, generator=generator)))
    envelope = torch.stack([torch.ones_like(t), 2 * t, 2 - 2 * t])[labels // 2]
    inputs = envelope * tone + CHIRP_NOISE * torch.randn(n, CHIRP_LENGTH, generator=generator)
    return _divided(inputs.unsqueeze(1), labels, CHIRP_CLASSES)


@cache
def _shapes() -> Data:
    """Discs, squares, frames, crosses and two diagonals, of any size about the middle, in noise."""
    generator = torch.Generator().manual_seed(2)
    n = N_TRAIN + N_VALIDATION
    labels = torch.randint(SHAPE_CLASSES, (n,), generator=generator)
    size = (2.0 + 1.5 * torch.rand(n, generator=generator)).view(n, 1, 1)
    centre = 5.0 + (SHAPE_SIDE - 11) * torch.rand(2, n, generator=generator)
    axis = torch.arange(SHAPE_SIDE, dtype=torch.float32)
    y, x = axis.view(1, -1, 1) - centre[0].view(n, 1, 1), axis.view(1, 1, -1) - centre[1].view(n, 1, 1)
    square = torch.maximum(x.abs(), y.abs())
    near, wide = square <= size, 0.8
    drawn = torch.stack(
        [
            x.square() + y.square() <= size.square(),
            near,
            near & (square > size - 1),
            near & ((x.abs() < wide) | (y.abs() < wide)),
            near & ((x - y).abs() < wide),
            near & ((x + y).abs() < wide),
        ]
    )
    inputs = drawn[labels, torch.arange(n)].float() + SHAPE_NOISE * torch.randn(
        n, SHAPE_SIDE, SHAPE_SIDE, generator=generator
    )
    return _divided(_standardised(inputs).unsqueeze(1), labels, SHAPE_CLASSES)


@cache
def _pulses() -> Data:
    """A bell, a box, a tooth that leans left or right, two bells, a bell that swings through zero, in noise."""
    generator = torch.Generator().manual_seed(3)
    n = N_TRAIN + N_VALIDATION
    labels = torch.randint(PULSE_CLASSES, (n,), generator=generator)
    centre = PULSE_LENGTH / 2 + 5 * (torch.rand(n, 1, generator=generator) - 0.5)
    x = (torch.arange(PULSE_LENGTH) - centre) / (3.0 + 2.0 * torch.rand(n, 1, generator=generator))
    inside = x.abs() < 1
    drawn = torch.stack(
        [
            torch.exp(-2 * x.square()),
            inside.float(),
            inside * (1 - x) / 2,
            inside * (1 + x) / 2,
            torch.exp(-8 * (x - 0.9).square()) + torch.exp(-8 * (x + 0.9).square()),
            2 * x * torch.exp(-2 * x.square()),
        ]
    )
    height = 1.5 + torch.rand(n, 1, generator=generator)
    inputs = height * drawn[labels, torch.arange(n)]
    inputs = inputs + PULSE_NOISE * torch.randn(n, PULSE_LENGTH, generator=generator)
    return _divided(_standardised(inputs).unsqueeze(1), labels, PULSE_CLASSES)


@cache
def _gratings() -> Data:
    """Stripes of four directions and two widths, shifted by up to 0.4 of their width, in noise."""
    generator = torch.Generator().manual_seed(4)
    n = N_TRAIN + N_VALIDATION
    labels = torch.randint(GRATING_CLASSES, (n,), generator=generator)
    angle = math.pi / 4 * (labels // 2) + 0.2 * (torch.rand(n, generator=generator) - 0.5)
    frequency = torch.where(labels % 2 == 0, 0.12, 0.25).view(n, 1, 1)
    axis = torch.arange(GRATING_SIDE, dtype=torch.float32)
    along = axis.view(1, 1, -1) * angle.cos().view(n, 1, 1) + axis.view(1, -1, 1) * angle.sin().view(n, 1, 1)
    phase = 0.4 * torch.rand(n, 1, 1, generator=generator)
    inputs = torch.sin(2 * math.pi * (frequency * along + phase))
    inputs = inputs + GRATING_NOISE * torch.randn(n, GRATING_SIDE, GRATING_SIDE, generator=generator)
    return _divided(_standardised(inputs).unsqueeze(1), labels, GRATING_CLASSES)


def _standardised(inputs: Tensor) -> Tensor:
    return (inputs - inputs.mean()) / inputs.std()


def _divided(inputs: Tensor, labels: Tensor, classes: int) -> Data:
    train = Samples(inputs[:N_TRAIN], labels[:N_TRAIN])
    return Data(train, Samples(inputs[N_TRAIN:], labels[N_TRAIN:]), classes)


DATASETS: Mapping[str, Callable[[], Data]] = MappingProxyType(
    {
        "mnist1d": lambda: _built_in("mnist1d"),
        "waves": _waves,
        "chirps": _chirps,
        "shapes": _shapes,
        "pulses": _pulses,
        "gratings": _gratings,
        "digits": lambda: _built_in("digits"),
        "fashion_mnist": lambda: _built_in("fashion_mnist", halved=True),
    }
)

"""One training: what is trained on what, with which settings, and which fault is planted in it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Literal

Part = Literal["development", "heldout", "fresh", "last"]

VERSION = 4  # of the training; raised when a cached run is not what would be trained now
HEALTHY_SEEDS_FACTOR = 2  # healthy runs of a data set and network for each sick run of a fault


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a training."""

    kind: Literal["mlp", "cnn"]
    depth: int
    width: int
    activation: Literal["relu", "gelu", "silu", "tanh"]
    normalization: Literal["none", "batch", "layer"]
    dropout: float
    optimizer: Literal["adamw", "sgd"]
    lr: float
    weight_decay: float
    batch_size: int
    epochs: int
    residual: bool
    anneals: bool
    """True if the rate falls to 0 along half a cosine."""


@dataclass(frozen=True, slots=True)
class FaultCase:
    """A training; `fault` is None for a healthy one."""

    part: Part
    dataset: str
    network: str
    fault: str | None
    seed: int
    settings: Settings

    @property
    def key(self) -> str:
        """The key of the case in the cache."""
        return f"{self.part}-{self.dataset}-{self.network}-{self.fault or 'healthy'}-{self.seed}"

    def plain(self) -> dict[str, object]:
        """All that its training depends on."""
        return {"version": VERSION, **asdict(self)}


NETWORKS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "mlp": {"kind": "mlp", "depth": 2, "width": 64, "activation": "relu", "normalization": "none", "dropout": 0.2},
        "cnn_batch": {
            **{"kind": "cnn", "depth": 3, "width": 12, "activation": "relu", "normalization": "batch"},
            "dropout": 0.0,
        },
        "mlp_layer": {
            **{"kind": "mlp", "depth": 4, "width": 48, "activation": "gelu", "normalization": "layer"},
            "dropout": 0.1,
        },
        "cnn_plain": {
            **{"kind": "cnn", "depth": 2, "width": 12, "activation": "relu", "normalization": "none"},
            "dropout": 0.2,
        },
        "mlp_batch": {
            **{"kind": "mlp", "depth": 3, "width": 64, "activation": "gelu", "normalization": "batch"},
            "dropout": 0.3,
        },
        "cnn_layer": {
            **{"kind": "cnn", "depth": 3, "width": 12, "activation": "relu", "normalization": "layer"},
            "dropout": 0.0,
        },
        "mlp_tanh": {
            **{"kind": "mlp", "depth": 2, "width": 80, "activation": "tanh", "normalization": "batch"},
            "dropout": 0.4,
        },
        "cnn_residual": {
            **{"kind": "cnn", "depth": 4, "width": 10, "activation": "silu", "normalization": "batch"},
            **{"dropout": 0.1, "residual": True},
        },
    }
)
DATASETS_OF: Mapping[Part, tuple[str, str]] = MappingProxyType(
    {
        "development": ("mnist1d", "waves"),
        "heldout": ("digits", "fashion_mnist"),
        "fresh": ("chirps", "shapes"),
        "last": ("pulses", "gratings"),
    }
)
NETWORKS_OF: Mapping[Part, tuple[str, str]] = MappingProxyType(
    {
        "development": ("mlp", "cnn_batch"),
        "heldout": ("mlp_layer", "cnn_plain"),
        "fresh": ("mlp_batch", "cnn_layer"),
        "last": ("mlp_tanh", "cnn_residual"),
    }
)

RATES = MappingProxyType({"adamw": 2e-3, "sgd": 0.05})
EPOCHS = MappingProxyType(
    {
        ("mnist1d", "mlp"): 24,
        ("mnist1d", "cnn_batch"): 16,
        ("waves", "mlp"): 24,
        ("waves", "cnn_batch"): 16,
        ("digits", "mlp_layer"): 16,
        ("digits", "cnn_plain"): 30,
        ("fashion_mnist", "mlp_layer"): 12,
        ("fashion_mnist", "cnn_plain"): 24,
        ("chirps", "mlp_batch"): 24,
        ("chirps", "cnn_layer"): 24,
        ("shapes", "mlp_batch"): 24,
        ("shapes", "cnn_layer"): 24,
        ("pulses", "mlp_tanh"): 24,
        ("pulses", "cnn_residual"): 32,
        ("gratings", "mlp_tanh"): 16,
        ("gratings", "cnn_residual"): 24,
    }
)


def healthy(part: Part, seeds: range) -> Iterator[FaultCase]:
    """Two for each seed, of each data set with each network: settings as somebody chooses them who knows what works."""
    for dataset in DATASETS_OF[part]:
        for network in NETWORKS_OF[part]:
            for seed in range(HEALTHY_SEEDS_FACTOR * seeds.start, HEALTHY_SEEDS_FACTOR * seeds.stop):
                yield _case(part, (dataset, network), fault=None, seed=seed)


def sick(part: Part, faults: tuple[str, ...], *, seeds: range) -> Iterator[FaultCase]:
    """Each fault once for each seed, in turn on each data set with each network."""
    places = [(dataset, network) for dataset in DATASETS_OF[part] for network in NETWORKS_OF[part]]
    for i, fault in enumerate(faults):
        for seed in seeds:
            yield _case(part, places[(i + seed) % len(places)], fault=fault, seed=1_000 + seed)


def _case(part: Part, place: tuple[str, str], *, fault: str | None, seed: int) -> FaultCase:
    dataset, network = place
    drawn = random.Random(f"{part}-{dataset}-{network}-{fault}-{seed}")
    optimizer: Literal["adamw", "sgd"] = "adamw" if drawn.random() < 2 / 3 else "sgd"
    settings = Settings(
        **{"residual": False, **NETWORKS[network]},  # type: ignore[arg-type]
        optimizer=optimizer,
        lr=RATES[optimizer] * 2 ** drawn.uniform(-1, 1),
        weight_decay=drawn.choice([1e-4, 1e-3]),
        batch_size=drawn.choice([64, 128]),
        epochs=EPOCHS[place],
        anneals=optimizer == "sgd" or drawn.random() < 0.5,
    )
    return FaultCase(part, dataset, network, fault, seed, settings)


def changed(case: FaultCase, **changes: object) -> FaultCase:
    """The case with other settings."""
    return replace(case, settings=replace(case.settings, **changes))  # type: ignore[arg-type]

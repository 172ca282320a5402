"""Optimizers, and the learning rates at which each of them works: plain data, without torch.

A range belongs to its optimizer: a usual rate for Adam is useless with SGD. Each range is wide enough that the best
rate of a small network lies well inside it (`tests/unit/worker/test_training_methods.py` measures this). Search it on a
log scale, or begin with `default`. Bengio 2012 (arXiv:1206.5533, section 3.1.1) gives 1e-6 to 1 for any optimizer on
standardised inputs; the sources narrow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class OptimizerPreset:
    """An optimizer and its learning rates.

    Attributes:
        low: the smallest useful rate.
        high: the largest useful rate.
        default: the rate to begin with.
        decay: whether weight decay is an L2 penalty that passes through the moments (`coupled`), or shrinks the weights
            beside the step (`decoupled`, Loshchilov and Hutter 2019, arXiv:1711.05101).
        whole_batch: whether it needs the loss of all samples, in a closure, instead of batches.
        source: the reference for the default.
    """

    low: float
    high: float
    default: float
    decay: Literal["coupled", "decoupled"] = "coupled"
    whole_batch: bool = False
    source: str = ""

    @property
    def log_range(self) -> dict[str, list[float]]:
        """The range in the form of a study's space: `{"log": [low, high]}`."""
        return {"log": [self.low, self.high]}


PRESETS: Mapping[str, OptimizerPreset] = MappingProxyType(
    {
        "sgd": OptimizerPreset(1e-3, 1.0, 0.1, source="He et al. 2016, arXiv:1512.03385: 0.1 with momentum 0.9"),
        "adam": OptimizerPreset(1e-5, 1e-1, 1e-3, source="Kingma and Ba 2015, arXiv:1412.6980: 1e-3"),
        "adamw": OptimizerPreset(
            1e-5, 1e-1, 1e-3, decay="decoupled", source="Loshchilov and Hutter 2019, arXiv:1711.05101: 1e-3"
        ),
        "rmsprop": OptimizerPreset(1e-5, 1e-1, 1e-3, source="Hinton 2012, lecture 6e: 1e-3"),
        "nadam": OptimizerPreset(1e-5, 1e-1, 2e-3, source="Dozat 2016, ICLR workshop: 2e-3"),
        "radam": OptimizerPreset(1e-5, 1e-1, 1e-3, source="Liu et al. 2020, arXiv:1908.03265: 1e-3"),
        "adagrad": OptimizerPreset(1e-3, 1.0, 1e-2, source="Duchi et al. 2011, JMLR 12; torch: 1e-2"),
        "adadelta": OptimizerPreset(1e-2, 10.0, 1.0, source="Zeiler 2012, arXiv:1212.5701: no rate, that is 1"),
        "asgd": OptimizerPreset(
            1e-2, 10.0, 1e-1, source="Polyak and Juditsky 1992: steps of SGD without momentum, so ten times its rates"
        ),
        "muon": OptimizerPreset(
            1e-4,
            1e-1,
            1e-3,
            decay="decoupled",
            source="Liu et al. 2025, arXiv:2502.16982: AdamW's rates, steps scaled to the same root mean square",
        ),
        "lbfgs": OptimizerPreset(
            1e-1, 1.0, 1.0, whole_batch=True, source="Nocedal and Wright 2006, section 7.2: 1, and a line search"
        ),
    }
)
"""By the names that studies use."""

IN_BATCHES = tuple(name for name, preset in PRESETS.items() if not preset.whole_batch)
"""Optimizers that learn from batches, as the built-in tasks do."""

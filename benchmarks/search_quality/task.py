"""Tasks to minimise, and the regret of a value."""

from __future__ import annotations

import importlib
import statistics
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from tunefleet.errors import TunefleetError
from tunefleet.study.space import Configuration, Space
from tunefleet_master.simulation.training_run import Trainer

N_DRAWS = 1_001  # for the median of a random draw


class Missing(TunefleetError):
    """A package that the benchmark needs is not installed."""

    code = "missing_package"


@dataclass(frozen=True)
class Task:
    """One thing to minimise.

    Attributes:
        name: such as `hpobench/car`.
        space: of its configurations.
        train: what happens to a configuration.
        best: the best value that is known.
        median: the value of a random draw, in the median.
        full_s: where trainings have curves, how long a random draw trains in the mean when nothing stops it; else None.
    """

    name: str
    space: Space
    train: Trainer
    best: float
    median: float
    full_s: float | None = None

    def regret(self, value: float) -> float:
        """The normalised regret of a value: 0 is the best known one, 1 the median of a random draw."""
        return max(0.0, value - self.best) / (self.median - self.best)


def number(configuration: Configuration, name: str) -> float:
    """The value of a parameter that is a number.

    Raises TypeError when it is none.
    """
    value = configuration[name]
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is no number: {value!r}")
    return value


def needed(package: str) -> ModuleType:
    """The package, imported.

    Raises Missing, which says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        text = f"the benchmark needs the package {package!r}, which is not installed"
        hint = "make bench-search installs what it needs, as does pip install -e '.[bench]'"
        raise Missing(text, hint=hint) from error


def random_draws(space: Space, n: int, *, seed: int) -> list[Configuration]:
    """Configurations drawn as random search draws them."""
    points = np.random.default_rng(seed).random((n, len(space.names)))
    return [space.from_unit(dict(zip(space.names, point, strict=True))) for point in points.tolist()]


def median_draw(space: Space, train: Trainer) -> float:
    """Return the median value of a random draw."""
    return statistics.median(train(draw).values[-1] for draw in random_draws(space, N_DRAWS, seed=0))

"""A lookup table of training runs: any configuration gets the run of the nearest known one.

It allows a comparison on real training runs of samplers that choose from a continuum. Syne Tune's tables also use the
nearest row in the encoded space (Salinas et al. 2022, https://arxiv.org/abs/2210.06422, with k = 1). All compared
samplers see the same rows; two proposals near one row get the same result. The distance is learnt from the rows, see
`tunefleet_master.simulation.distance`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunefleet.study.space import Configuration, Space
from tunefleet_master.search.axes import Axes
from tunefleet_master.simulation.distance import fit_weights, squared_distances
from tunefleet_master.simulation.training_run import TrainingRun


class Table:
    """Training runs by configuration.

    Attributes:
        configurations: of the rows.
        trainings: of the rows, in the same order.
        weights: (d,) the weight of each parameter in the distance.
    """

    def __init__(
        self, space: Space, configurations: Sequence[Configuration], *, trainings: Sequence[TrainingRun]
    ) -> None:
        """Create a table with one training run for each configuration of the space; at least one.

        Raises ValueError if there is no row, or not one run for each.
        """
        if not configurations or len(configurations) != len(trainings):
            raise ValueError(f"the table has {len(configurations)} configurations and {len(trainings)} training runs")
        self.configurations = list(configurations)
        self.trainings = list(trainings)
        self._axes = Axes(space)
        self._points = self._axes.points(self.configurations)
        ends = np.array([training.values[-1] for training in self.trainings])
        self.weights = fit_weights(self._axes, self._points, ends=ends)

    def train(self, configuration: Configuration) -> TrainingRun:
        """Return the training run of the nearest row; of equally near ones, the first."""
        return self.trainings[self.nearest(configuration)]

    def nearest(self, configuration: Configuration) -> int:
        """Return the index of the nearest row."""
        apart = squared_distances(self._axes, self._axes.point(configuration), points=self._points)
        return int((apart @ self.weights).argmin())

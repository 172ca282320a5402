"""A space that is known at some configurations only: what any other one would do is taken from the nearest.

So samplers that choose from a continuum can be compared on trainings that have been run. The nearest row in the
encoded space is also what Syne Tune takes for its tables (Salinas et al. 2022, https://arxiv.org/abs/2210.06422, with
k = 1). All contestants see the same rows, and one that proposes the neighbourhood of a row twice sees it twice. What is
near is learnt from the rows, see `tunefleet_master.simulation.metric`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunefleet.study.space import Configuration, Space
from tunefleet_master.search.axes import Axes
from tunefleet_master.simulation.metric import learnt_weights, squared_distances
from tunefleet_master.simulation.training import Training


class Table:
    """Trainings by configuration.

    Attributes:
        configurations: of the rows.
        trainings: of the rows, in the same order.
        weights: (d,) how much each parameter counts for what is near.
    """

    def __init__(self, space: Space, configurations: Sequence[Configuration], *, trainings: Sequence[Training]) -> None:
        """A table with one training for each configuration of the space; at least one.

        Raises ValueError when there is no row, or not one training for each.
        """
        if not configurations or len(configurations) != len(trainings):
            raise ValueError(f"{len(configurations)} configurations and {len(trainings)} trainings")
        self.configurations = list(configurations)
        self.trainings = list(trainings)
        self._axes = Axes(space)
        self._points = self._axes.points(self.configurations)
        ends = np.array([training.values[-1] for training in self.trainings])
        self.weights = learnt_weights(self._axes, self._points, ends=ends)

    def train(self, configuration: Configuration) -> Training:
        """The training of the nearest row; of several as near, that of the first."""
        return self.trainings[self.nearest(configuration)]

    def nearest(self, configuration: Configuration) -> int:
        """The index of the nearest row."""
        apart = squared_distances(self._axes, self._axes.point(configuration), points=self._points)
        return int((apart @ self.weights).argmin())

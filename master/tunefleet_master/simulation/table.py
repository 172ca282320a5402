"""A space that is known at some configurations only: what any other one would do is taken from the nearest.

So samplers that choose from a continuum can be compared on trainings that have been run. The nearest row in the
encoded space is also what Syne Tune takes for its tables (Salinas et al. 2022, https://arxiv.org/abs/2210.06422, with
k = 1). All contestants see the same rows, and one that proposes the neighbourhood of a row twice sees it twice.

The distance: along a number it is the difference of the coordinates in the unit cube, each on its parameter's own
scale; along a choice 0 or 1; between active and inactive 1; all of them squared and added up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunefleet.space import Configuration, Space
from tunefleet_master.search.axes import Axes
from tunefleet_master.simulation.training import Training


class Table:
    """Trainings by configuration.

    Attributes:
        configurations: of the rows.
        trainings: of the rows, in the same order.
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

    def train(self, configuration: Configuration) -> Training:
        """The training of the nearest row; of several as near, that of the first."""
        return self.trainings[self.nearest(configuration)]

    def nearest(self, configuration: Configuration) -> int:
        """The index of the nearest row."""
        apart = np.abs(self._points - self._axes.point(configuration))
        apart = np.where(self._axes.is_choice & (apart > 0), 1.0, apart)
        # A NaN is an inactive parameter: no distance where it is inactive in both.
        one_inactive = np.isnan(self._points) != np.isnan(self._axes.point(configuration))
        apart = np.where(np.isnan(apart), one_inactive.astype(np.float64), apart)
        return int((apart**2).sum(axis=1).argmin())

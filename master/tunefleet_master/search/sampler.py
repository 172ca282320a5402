"""The port of all samplers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar, Self

import numpy as np

from tunefleet.catalogue.samplers import SAMPLERS, SamplerTraits
from tunefleet.study.parameters import IntRange, Parameter
from tunefleet.study.space import Configuration, Space
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.axes import Axes, Mask, Points, row_keys
from tunefleet_master.search.history import History
from tunefleet_master.search.segment import Segment

MAX_REDRAWS = 64  # random points tried in place of one that is known or forbidden
MAX_LISTED = 10_000  # the largest space that is enumerated if random points find nothing new; takes 0.1 s


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A configuration, and its segment if the sampler trains a population."""

    params: Configuration
    segment: Segment | None = None


@dataclass(frozen=True, slots=True)
class Suggestions:
    """The suggestions of a sampler for the next positions.

    Attributes:
        found: one for each position; None where the position gives no configuration.
        is_last: True if the sampler will never suggest anything more.
    """

    found: Sequence[Suggestion | None]
    is_last: bool


class Sampler(ABC):
    """A sampler proposes configurations of a space.

    A sampler is pure: the same space, seed, position and history give the same proposals in any process. Proposals have
    positions, counted from 0 over the life of the study, so that a restarted study needs no stored state of its
    sampler. The first k proposals of a batch do not depend on its size.

    The row of a built-in sampler in `tunefleet.catalogue.samplers` sets `learns`, `trains_population` and
    `takes_several`. A plugin sets them in its class.

    Attributes:
        name: the name that studies use.
        version: raised with every change that changes proposals, and stored with each proposal.
        learns: True if proposals depend on the history. A sampler that does not learn may be asked far ahead.
        trains_population: True if its trials are segments that continue from each other's checkpoints.
        takes_several: True if it takes several objectives: it learns from all of them, or from none.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    learns: ClassVar[bool] = False
    trains_population: ClassVar[bool] = False
    takes_several: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Set the attributes of a built-in sampler from its row."""
        super().__init_subclass__(**kwargs)
        row = SAMPLERS.get(vars(cls).get("name", ""))
        if row is not None:
            cls.learns, cls.trains_population, cls.takes_several = row.learns, row.trains_population, row.takes_several

    def __init__(self, space: Space, *, seed: int) -> None:
        self.space = space
        self.seed = seed

    @abstractmethod
    def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
        """Return the proposals at `position` to `position + n - 1`.

        A proposal is None if its position gives no configuration that the constraints allow. Only a sampler that has no
        more returns fewer than `n`.

        Args:
            position: of the first proposal.
            n: the number of proposals.
            history: all trials so far. Within a batch, earlier proposals are pending for later ones.
        """

    @classmethod
    def traits(cls) -> SamplerTraits:
        """Return the capabilities of a plugin, by its class attributes."""
        return SamplerTraits(
            spaces="everything",
            purpose="",
            learns=cls.learns,
            takes_several=cls.takes_several,
            trains_population=cls.trains_population,
        )

    @classmethod
    def of(cls, spec: StudySpec) -> Self:
        """Return the sampler of a study."""
        return cls(spec.search_space, seed=spec.search.seed)

    def on(self, space: Space) -> Self:
        """Return the same sampler on another space."""
        return type(self)(space, seed=self.seed)

    def suggest(self, position: int, n: int, *, history: History) -> Suggestions:
        """Return the proposals of `propose` with their segments; at most `n`.

        A sampler that trains a population may return fewer although more will follow: while its members are busy.
        """
        found = self.propose(position, n, history=history)
        return Suggestions([None if params is None else Suggestion(params) for params in found], len(found) < n)

    def _allowed(self, configuration: Configuration) -> Configuration | None:
        return configuration if self.space.allows(configuration) else None


class LearningSampler(Sampler):
    """A sampler that starts with a space-filling design and then learns from results.

    Subclasses propose points one after the other. Each becomes a configuration that is new to the study, if there is
    one.
    """

    learns: ClassVar[bool] = True
    takes_several: ClassVar[bool] = False

    def __init__(self, space: Space, *, seed: int) -> None:
        super().__init__(space, seed=seed)
        self.axes = Axes(space)

    def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
        """Return `n` proposals; None where no new configuration was found."""
        proposed = np.empty((0, self.axes.d))
        out: list[Configuration | None] = []
        for point in self._points(position, n, history):
            new_point = self._find_new_point(point, position + len(out), history, proposed)
            out.append(None if new_point is None else self.axes.configuration(new_point))
            if new_point is not None:
                proposed = np.vstack([proposed, new_point])
        return out

    @abstractmethod
    def _points(self, position: int, n: int, history: History) -> Iterable[Points]:
        """Propose `n` points (d,) for a batch that starts at `position`: an array (n, d) or an iterator.

        Inactive coordinates may be anything.
        """

    def generator(self, position: int) -> np.random.Generator:
        """Return the generator of a position; it differs from that of `RandomSampler`."""
        return np.random.default_rng([self.seed, position, 1])

    def is_new(self, points: Points, history: History, *, proposed: Points) -> Mask:
        """Return a mask (n,) of the canonical points (n, d) that are allowed, no trials and not `proposed` (m, d)."""
        taken = set(row_keys(proposed))
        is_new = ~history.knows(points) & np.array([key not in taken for key in row_keys(points)], dtype=np.bool_)
        is_new[is_new] = self.axes.allowed(points[is_new])  # last, since constraints cost the most
        return is_new

    def _find_new_point(self, point: Points, position: int, history: History, proposed: Points) -> Points | None:
        """Return the canonical point, or another one if it cannot be proposed; None if there is none.

        Random points are tried first. In a small space, a remaining configuration is found if there is one.
        """
        canonical = self.axes.canonical(point[None])
        if self.is_new(canonical, history, proposed=proposed)[0]:
            return np.asarray(canonical[0])
        generator = self.generator(position)
        random_points = self.axes.canonical(generator.random((MAX_REDRAWS, self.axes.d)))
        new = np.flatnonzero(self.is_new(random_points, history, proposed=proposed))
        if len(new):
            return np.asarray(random_points[new[0]])
        remaining = self._all_points[self.is_new(self._all_points, history, proposed=proposed)]
        return np.asarray(remaining[generator.integers(len(remaining))]) if len(remaining) else None

    @cached_property
    def _all_points(self) -> Points:
        """The canonical points (n, d) of a space of at most MAX_LISTED configurations; none of a larger one."""
        if self.space.size is None or self.space.size > MAX_LISTED:
            return np.empty((0, self.axes.d))
        values = [_coordinates(parameter) for parameter in self.space.parameters.values()]
        points = self.axes.canonical(np.array(list(product(*values))).reshape(-1, self.axes.d))
        distinct = dict(zip(row_keys(points), points, strict=True))  # conditions make some of them equal
        return np.array(list(distinct.values()))


def _coordinates(parameter: Parameter) -> list[float]:
    """Return the coordinates of all values of a countable parameter."""
    if isinstance(parameter, IntRange):
        low, high = parameter.bounds
        return [parameter.to_unit(value) for value in range(low, high + 1)]
    return [parameter.to_unit(value) for value in parameter.grid()]  # of a choice, or of a fixed value

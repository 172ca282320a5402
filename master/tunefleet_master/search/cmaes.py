"""CMA-ES, for spaces of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunefleet.errors import InvalidInput, Problem
from tunefleet.parameters import Choice, IntRange
from tunefleet.space import Space
from tunefleet_master.search.axes import Points
from tunefleet_master.search.cover import covering_point
from tunefleet_master.search.evidence import Evidence, evidence
from tunefleet_master.search.history import History, Values
from tunefleet_master.search.sampler import MAX_REDRAWS, LearningSampler

if TYPE_CHECKING:
    from tunefleet_master.search.margin import MarginCma

N_STARTUP = 10
FIRST_SIGMA = 0.2
MOST_LEVELS = 1_000  # an integer of more values is as good as real: its cells are narrower than any step that matters


def cmaes_problem(space: Space) -> str | None:
    """Why the sampler cannot work on this space, and what can; None when it can."""
    for name, parameter in space.parameters.items():
        if parameter.size == 1:
            continue
        if isinstance(parameter, Choice):
            return f"cmaes follows slopes, and the values of {name!r} have no order; use tpe, forest or evolution"
        if parameter.when is not None:
            return f"cmaes needs every parameter in every trial, and {name!r} has a condition; use tpe or forest"
    return None


@dataclass(slots=True)
class _Descent:
    """What CMA-ES has become of the first results: a distribution, and the results that it has taken in."""

    optimizer: MarginCma
    n_restarts: int
    points: Points
    scores: Values

    def has_seen(self, known: Evidence) -> bool:
        """Whether all that it has taken in is the beginning of what is known."""
        n = len(self.scores)
        return np.array_equal(known.points[:n], self.points, equal_nan=True) and np.array_equal(
            known.scores[:n], self.scores
        )


class CmaesSampler(LearningSampler):
    """Covariance matrix adaptation (Hansen 2016, https://arxiv.org/abs/1604.00772) with margin for integers."""

    name = "cmaes"

    def __init__(self, space: Space, *, seed: int) -> None:
        """Raises InvalidInput where `cmaes_problem` has something to say."""
        problem = cmaes_problem(space)
        if problem is not None:
            raise InvalidInput([Problem("search.sampler", problem)])
        super().__init__(space, seed=seed)
        self._free = np.flatnonzero(~self.axes.is_fixed)
        self._descent: _Descent | None = None  # saves time, and changes nothing: it is used where it has seen the same

    def _points(self, position: int, n: int, history: History) -> Iterator[Points]:
        known = evidence(history)
        proposed = np.empty((0, self.axes.d))
        for at in range(position, position + n):
            if len(known.scores) < N_STARTUP or not len(self._free):
                point = self.axes.canonical(covering_point(self.axes.d, at, seed=self.seed)[None])
            else:
                point = self._drawn(self._optimizer(known), at, history, proposed)
            proposed = np.vstack([proposed, point])
            yield point[0]

    def _drawn(self, optimizer: MarginCma, position: int, history: History, proposed: Points) -> Points:
        """(1, d): the first draw that is new, or else the last."""
        optimizer.reseed_rng(int(self.generator(position).integers(2**32)))
        point = np.full((1, self.axes.d), 0.5)
        for _ in range(MAX_REDRAWS):
            point[0, self._free] = optimizer.draw()
            canonical = self.axes.canonical(point)
            if self.is_new(canonical, history, proposed=proposed)[0]:
                break
        return canonical

    def _optimizer(self, known: Evidence) -> MarginCma:
        """The distribution after all whole generations of what is known."""
        descent = self._descent
        if descent is None or not descent.has_seen(known):
            descent = self._begun(known)
        while (end := len(descent.scores) + descent.optimizer.population_size) <= len(known.scores):
            descent = self._continued(descent, known, end)
        self._descent = descent
        return descent.optimizer

    def _begun(self, known: Evidence) -> _Descent:
        first = slice(N_STARTUP)
        best = known.points[np.argmin(known.scores[first]), self._free]
        return _Descent(self._new_optimizer(best), 0, known.points[first], known.scores[first])

    def _continued(self, descent: _Descent, known: Evidence, end: int) -> _Descent:
        """The descent after one more generation; begun anew elsewhere, where it has come to rest."""
        generation = slice(len(descent.scores), end)
        optimizer, n_restarts = descent.optimizer, descent.n_restarts
        noise = np.random.default_rng([self.seed, end, 2])
        optimizer.learn(known.points[generation][:, self._free], scores=known.scores[generation], generator=noise)
        if optimizer.should_stop():
            n_restarts += 1
            optimizer = self._new_optimizer(noise.random(len(self._free)), size=2 * optimizer.population_size)
        return _Descent(optimizer, n_restarts, known.points[:end], known.scores[:end])

    def _new_optimizer(self, mean: Points, size: int | None = None) -> MarginCma:
        from tunefleet_master.search.margin import MarginCma

        parameters = [self.space.parameters[self.space.names[j]] for j in self._free]
        integers = {
            axis: parameter
            for axis, parameter in enumerate(parameters)
            if isinstance(parameter, IntRange) and parameter.bounds[1] - parameter.bounds[0] < MOST_LEVELS
        }
        return MarginCma(mean, sigma=FIRST_SIGMA, integers=integers, size=size)

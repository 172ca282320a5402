"""CMA-ES, for spaces of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunefleet.errors import InvalidInput, Problem
from tunefleet.study.parameters import Choice, IntRange
from tunefleet.study.space import Space
from tunefleet_master.search.axes import Points
from tunefleet_master.search.history import History, Values
from tunefleet_master.search.observations import Observations, evidence
from tunefleet_master.search.sampler import MAX_REDRAWS, LearningSampler

if TYPE_CHECKING:
    from tunefleet_master.search.margin import MarginCma

# Where the first generation is drawn: around the middle, as wide as Optuna has it. On four tasks of HPOBench and two of
# BBOB, 60 evaluations and 20 seeds, ten points of a Sobol sequence and the best of them as the first mean were no
# better (regret .093 against .089, with 8 in flight .112 against .101); users set ranges around what they expect.
FIRST_MEAN, FIRST_SIGMA = 0.5, 1 / 6

MAX_LEVELS = 1_000  # an integer of more values is as good as real: its cells are narrower than any step that matters


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


@dataclass(frozen=True, slots=True)
class _Descent:
    """What CMA-ES has become of the first results: a distribution, and the results that it has taken in."""

    optimizer: MarginCma
    points: Points
    scores: Values

    def has_seen(self, known: Observations) -> bool:
        """Whether all that it has taken in is the beginning of what is known."""
        n = len(self.scores)
        return np.array_equal(known.scores[:n], self.scores) and np.array_equal(
            known.points[:n], self.points, equal_nan=True
        )


class CmaesSampler(LearningSampler):
    """Covariance matrix adaptation (Hansen 2016, https://arxiv.org/abs/1604.00772) with margin for integers.

    Nobody waits for a generation: whoever asks gets a draw from the newest distribution, and results are taken in as
    they end, a generation at a time, from whichever distribution they were drawn. The distribution is a fold over
    them, so that nothing has to be stored. Points that could not be trained are no part of any generation, which moves
    the distribution away from them. Where it has come to rest, it begins anew at a random place with generations twice
    as large (Auger and Hansen 2005, https://doi.org/10.1109/CEC.2005.1554902).

    Of few evaluations it makes less than `tpe`; it is for hundreds of them.
    """

    name = "cmaes"

    def __init__(self, space: Space, *, seed: int) -> None:
        """Raises InvalidInput where `cmaes_problem` has something to say."""
        problem = cmaes_problem(space)
        if problem is not None:
            raise InvalidInput([Problem("search.sampler", problem)])
        super().__init__(space, seed=seed)
        self._free = np.flatnonzero(~self.axes.is_fixed)
        self._descent: _Descent | None = None  # to save time: what is known is folded again where this saw another past

    def _points(self, position: int, n: int, history: History) -> Iterator[Points]:
        if not len(self._free):
            yield from np.full((n, self.axes.d), FIRST_MEAN)
            return
        optimizer = self._optimizer(evidence(history))
        proposed = np.empty((0, self.axes.d))
        for at in range(position, position + n):
            optimizer.reseed_rng(int(self.generator(at).integers(2**32)))
            point = self._drawn(optimizer, history, proposed)
            proposed = np.vstack([proposed, point])
            yield point[0]

    def _drawn(self, optimizer: MarginCma, history: History, proposed: Points) -> Points:
        """(1, d): the first draw that is new, or else the last."""
        point = np.full((1, self.axes.d), FIRST_MEAN)
        for _ in range(MAX_REDRAWS):
            point[0, self._free] = optimizer.draw()
            canonical = self.axes.canonical(point)
            if self.is_new(canonical, history, proposed=proposed)[0]:
                break
        return canonical

    def _optimizer(self, known: Observations) -> MarginCma:
        """The distribution after all whole generations of what is known."""
        descent = self._descent
        if descent is None or not descent.has_seen(known):
            first = self._new_optimizer(np.full(len(self._free), FIRST_MEAN))
            descent = _Descent(first, known.points[:0], known.scores[:0])
        while (end := len(descent.scores) + descent.optimizer.population_size) <= len(known.scores):
            descent = self._continued(descent, known, end)
        self._descent = descent
        return descent.optimizer

    def _continued(self, descent: _Descent, known: Observations, end: int) -> _Descent:
        """The descent after one more generation, the results up to `end`."""
        optimizer, generation = descent.optimizer, slice(len(descent.scores), end)
        noise = np.random.default_rng([self.seed, end, 2])
        optimizer.learn(known.points[generation][:, self._free], scores=known.scores[generation], generator=noise)
        if optimizer.should_stop():
            optimizer = self._new_optimizer(noise.random(len(self._free)), size=2 * optimizer.population_size)
        return _Descent(optimizer, known.points[:end], known.scores[:end])

    def _new_optimizer(self, mean: Points, size: int | None = None) -> MarginCma:
        from tunefleet_master.search.margin import MarginCma  # with it come scipy's distributions

        parameters = enumerate(self.space.parameters[self.space.names[j]] for j in self._free)
        integers = {
            axis: parameter
            for axis, parameter in parameters
            if isinstance(parameter, IntRange) and parameter.bounds[1] - parameter.bounds[0] < MAX_LEVELS
        }
        return MarginCma(mean, sigma=FIRST_SIGMA, integers=integers, size=size)

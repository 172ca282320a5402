"""Aging evolution, with non-dominated sorting for several objectives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tunefleet.study.parameters import IntRange
from tunefleet_master.search.axes import Points
from tunefleet_master.search.history import History, Outcome
from tunefleet_master.search.initial_design import sobol_point
from tunefleet_master.search.observations import collect_observations
from tunefleet_master.search.pareto import crowded_ranks
from tunefleet_master.search.sampler import MAX_REDRAWS, LearningSampler

# Real et al. draw the whole first population at random, which is most of 60 evaluations. With tournaments after 10
# trials, the regret was .08 in the geometric mean over nine tasks; with 50 random trials first it was .13.
N_STARTUP = 10

# P and S, by the number of trials that have ended. The paper's values, for 20,000 trials, are 100 and 25. Half the
# population turns over often enough in a few hundred trials. Tournaments of 5 were worse than of 10 (.099 against
# .078), and of 20 no better.
LONG_SEARCH = 500
SHORT_POPULATION, SHORT_TOURNAMENT = 50, 10
LONG_POPULATION, LONG_TOURNAMENT = 100, 25
FRONT_TOURNAMENT = 2  # for several objectives, as in NSGA-II: larger ones would favour the ends of the front

STEP = 0.2  # standard deviation of a number's mutation, as a share of its range; .1 was worse, .3 no better


@dataclass(frozen=True, slots=True)
class _Population:
    """The candidate parents: points (p, d), the best first, and the number that compete in a tournament."""

    points: Points
    tournament_size: int

    def winner(self, generator: np.random.Generator) -> Points:
        """Return the best of a few points drawn with replacement."""
        return np.asarray(self.points[generator.integers(len(self.points), size=self.tournament_size).min()])


class EvolutionSampler(LearningSampler):
    """Regularised evolution (Real et al. 2019, https://arxiv.org/abs/1802.01548, algorithm 1), asynchronously.

    The population is the last P trials with a result. The oldest are removed, not the worst, so that one lucky result
    does not stay for ever. A child is the best of S drawn trials, with one parameter changed. Infeasible trials never
    enter the population.

    With several objectives the population is the best P of all trials, by front and then by crowding distance, as in
    NSGA-II (Deb et al. 2002, https://doi.org/10.1109/4235.996017): removing the oldest would lose the front.
    """

    name = "evolution"

    def _points(self, position: int, n: int, history: History) -> Iterator[Points]:
        population = _population(history)
        proposed = np.empty((0, self.axes.d))
        for at in range(position, position + n):
            if len(population.points) < N_STARTUP:
                point = self.axes.canonical(sobol_point(self.axes.d, at, seed=self.seed)[None])
            else:
                point = self._child(population, at, history, proposed)
            proposed = np.vstack([proposed, point])
            yield point[0]

    def _child(self, population: _Population, position: int, history: History, proposed: Points) -> Points:
        """Return the first mutant (1, d) of a tournament's winner that is new, or else the last."""
        generator = self.generator(position)
        for _ in range(MAX_REDRAWS):
            child = self.axes.canonical(self._mutate(population.winner(generator), generator)[None])
            if self.is_new(child, history, proposed=proposed)[0]:
                break
        return child

    def _mutate(self, parent: Points, generator: np.random.Generator) -> Points:
        """Return the parent with another value on one axis; parameters that this activates are drawn at random."""
        is_active = ~np.isnan(parent)
        mutant = np.where(is_active, parent, generator.random(self.axes.d))
        axes = np.flatnonzero(is_active & ~self.axes.is_fixed)
        if len(axes):
            j = int(generator.choice(axes))
            mutant[j] = self._mutate_coordinate(j, float(parent[j]), generator)
        return mutant

    def _mutate_coordinate(self, j: int, at: float, generator: np.random.Generator) -> float:
        """Return another coordinate on axis j: near the old one on an ordered axis, any other one on a choice."""
        if self.axes.is_choice[j]:
            step = generator.integers(1, self.axes.n_levels[j]) / self.axes.n_levels[j]
            return float((at + step) % 1.0)
        to = _reflect(at + STEP * generator.standard_normal())
        parameter = self.space.parameters[self.space.names[j]]
        if not isinstance(parameter, IntRange):
            return to
        low, high = parameter.bounds
        old, new = parameter.from_unit(at), parameter.from_unit(to)
        if new == old:
            new = old + 1 if old == low or (old < high and to > at) else old - 1
        return parameter.to_unit(new)


def _reflect(coordinate: float) -> float:
    """Reflect a coordinate into [0, 1]."""
    return 1 - abs(1 - coordinate % 2)


def _population(history: History) -> _Population:
    is_short = history.n_ended <= LONG_SEARCH
    n = SHORT_POPULATION if is_short else LONG_POPULATION
    if history.values.shape[1] > 1:
        return _Population(_fittest(history, n), tournament_size=FRONT_TOURNAMENT)
    observed = collect_observations(history)
    # Equal scores: the youngest first, so that the search moves across a plateau.
    youngest_first = slice(None, -n - 1, -1)
    points, scores = observed.points[youngest_first], observed.scores[youngest_first]
    tournament_size = SHORT_TOURNAMENT if is_short else LONG_TOURNAMENT
    return _Population(points[np.argsort(scores, kind="stable")], tournament_size=tournament_size)


def _fittest(history: History, n: int) -> Points:
    """Return the `n` best points of all trials, by front and then by crowding distance (Deb et al. 2002)."""
    trials = history.with_outcome(Outcome.COMPLETE)
    trials = trials[np.isfinite(history.values[trials]).all(axis=1)]
    return history.points[trials[np.argsort(crowded_ranks(history.values[trials], enough=n))[:n]]]

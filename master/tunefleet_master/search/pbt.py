"""Population-based training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import JsonValue

from tunefleet.study.parameters import Choice, Fixed, IntRange, Parameter, RealRange
from tunefleet.study.space import Configuration, Space
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.axes import Axes
from tunefleet_master.search.history import History, Outcome
from tunefleet_master.search.initial_design import sobol_point
from tunefleet_master.search.population import Plan, Population, Record, best_of, replacements
from tunefleet_master.search.sampler import MAX_REDRAWS, Sampler, Suggestion, Suggestions
from tunefleet_master.search.segment import Segment

FACTORS = (0.8, 1.2)  # down and up
P_RESAMPLE = 0.25  # for each parameter, as in the paper's supplement
# A number at 0 would never move, and one near 0 hardly: on a linear scale the step is at least that of a number at a
# tenth of the range.
MIN_STEP = 0.1


class PbtSampler(Sampler):
    """Asynchronous population-based training (Jaderberg et al. 2017, https://arxiv.org/abs/1711.09846, algorithm 1).

    Each segment of a member's training is a trial. After it, the member is compared with all that have trained equally
    long. A member of the worst fifth continues from the checkpoint of one of the best fifth, with a perturbed copy of
    its configuration (the paper's truncation selection). The others continue unchanged.

    Departures from the paper: members are compared after equal numbers of steps, so that a slow worker's members do not
    count as bad. A member ahead of most others is compared at the last generation that enough of them completed. A
    member with a failed segment also copies a good one.
    """

    name = "pbt"

    def __init__(self, space: Space, *, seed: int, plan: Plan | None = None) -> None:
        super().__init__(space, seed=seed)
        self.plan = plan or Plan()
        self._axes = Axes(space)

    @classmethod
    def of(cls, spec: StudySpec) -> Self:
        """Return the sampler of a study with a valid spec."""
        steps, interval = spec.steps or 1, spec.search.interval or 1
        return cls(
            spec.search_space, seed=spec.search.seed, plan=Plan(spec.search.population, interval=interval, steps=steps)
        )

    def on(self, space: Space) -> Self:
        """Return the same population, in another space."""
        return type(self)(space, seed=self.seed, plan=self.plan)

    def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
        """Return the configurations of `suggest`."""
        found = self.suggest(position, n, history=history).found
        return [None if suggestion is None else suggestion.params for suggestion in found]

    def suggest(self, position: int, n: int, *, history: History) -> Suggestions:
        """Return the next segments of waiting members, the longest wait first; None where the space allows none."""
        population = Population.of(self.plan, history)
        waiting_members = enumerate(population.waiting_members()[:n], start=position)
        found = [
            self._suggest_next(member, at, population=population, history=history) for at, member in waiting_members
        ]
        return Suggestions(found, population.is_done)

    def _suggest_next(
        self, member: int, position: int, *, population: Population, history: History
    ) -> Suggestion | None:
        """Return the member's next segment."""
        generator = np.random.default_rng([self.seed, position, 2])
        newest = population.newest(member)
        donors = () if newest is None else self._donors(newest, population)
        if newest is not None and newest.outcome is Outcome.COMPLETE and not donors:
            params = self._still_valid(history.configurations[newest.number], generator)
            parent: Record | None = newest
        elif donors:
            parent = donors[int(generator.integers(len(donors)))]
            params = self.perturbed(history.configurations[parent.number], generator)
        else:
            parent, params = None, self._initial_configuration(member, generator, is_first=newest is None)
        if params is None:
            return None
        if parent is None:
            return Suggestion(params, Segment(member, None, self.plan.until(0)))
        until = self.plan.until(population.generation(parent.number) + 1)
        return Suggestion(params, Segment(member, parent.number, until))

    @staticmethod
    def _donors(newest: Record, population: Population) -> Sequence[Record]:
        """Return the trials that a member may copy, given its newest trial; none: it continues or restarts."""
        generation = population.generation(newest.number)
        if newest.outcome is Outcome.COMPLETE:
            at = population.compared_at(generation)
            if at is None:
                return ()
            return replacements(population.ancestor(newest.number, at), population.completed(at))
        before = max(generation - 1, 0)
        at = population.compared_at(before)
        return population.completed(before)[:1] if at is None else best_of(population.completed(at))

    def _initial_configuration(
        self, member: int, generator: np.random.Generator, *, is_first: bool
    ) -> Configuration | None:
        """Return the configuration of a member that starts from scratch; the first ones are space-filling."""
        d = self._axes.d
        if is_first:
            configuration = self._axes.configuration(sobol_point(d, member, seed=self.seed))
            if self.space.allows(configuration):
                return configuration
        drawn = (self._axes.configuration(generator.random(d)) for _ in range(MAX_REDRAWS))
        return next((configuration for configuration in drawn if self.space.allows(configuration)), None)

    def _still_valid(self, params: Configuration, generator: np.random.Generator) -> Configuration | None:
        """Return the configuration unchanged, or perturbed if it no longer lies in the space."""
        return params if self._axes.holds(params) else self.perturbed(params, generator)

    def perturbed(self, params: Configuration, generator: np.random.Generator) -> Configuration | None:
        """Return the configuration with each parameter resampled or moved by a step.

        None if the space allows none of MAX_REDRAWS such configurations.
        """
        for _ in range(MAX_REDRAWS):
            moved = {
                name: parameter.to_unit(_step(parameter, params[name], generator))
                if name in params and parameter.contains(params[name]) and generator.random() >= P_RESAMPLE
                else generator.random()
                for name, parameter in self.space.parameters.items()
            }
            configuration = self.space.from_unit(moved)
            if self.space.allows(configuration):
                return configuration
        return params if self._axes.holds(params) else None


def _step(parameter: Parameter, value: JsonValue, generator: np.random.Generator) -> JsonValue:
    """Return the value one step up or down, in the other direction at the end of its range.

    Choices have no order and stay, unless all of them are numbers: these move to the next larger or smaller number.
    """
    up = bool(generator.integers(2))
    match parameter:
        case Fixed():
            return value
        case Choice(choice=values):
            return _neighbour(values, value, up=up)
        case _:
            first, second = (_scale(parameter, value, up=direction) for direction in (up, not up))
            return second if first == value else first


def _scale(parameter: RealRange | IntRange, value: JsonValue, *, up: bool) -> float | int:
    """Return a number times 1.2 or 0.8, within its range.

    On a log scale this is a step of equal length everywhere. On a linear scale it follows the paper; a negative number
    also moves by a fifth of its size.
    """
    assert isinstance(value, int | float)
    low, high = parameter.bounds
    is_log = parameter.log if isinstance(parameter, IntRange) else parameter.is_log
    size = abs(value) if is_log else max(abs(value), MIN_STEP * (high - low))
    moved = value + size * (FACTORS[up] - 1)
    if isinstance(parameter, IntRange):
        moved = max(value + 1, round(moved)) if up else min(value - 1, round(moved))
    return min(max(moved, low), high)


def _neighbour(values: Sequence[JsonValue], value: JsonValue, *, up: bool) -> JsonValue:
    """Return the next larger or smaller of numeric choices; the value itself if not all are numbers."""
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) < len(values) or len(values) == 1:
        return value
    assert isinstance(value, int | float)
    ordered, step = sorted(numbers), 1 if up else -1
    at = ordered.index(value)
    return ordered[at + step if 0 <= at + step < len(ordered) else at - step]

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
from tunefleet_master.search.initial_design import covering_point
from tunefleet_master.search.population import Plan, Population, Record, best_of, better_than
from tunefleet_master.search.sampler import MAX_REDRAWS, Sampler, Suggestion, Suggestions
from tunefleet_master.search.segment import Segment

FACTORS = (0.8, 1.2)  # down and up
P_RESAMPLE = 0.25  # for each parameter, as in the paper's supplement
# A number at 0 would stay there for ever, and one near 0 would hardly move: on a linear scale a step is never smaller
# than that of a number at a tenth of the range.
MIN_STEP = 0.1


class PbtSampler(Sampler):
    """Population-based training without waiting (Jaderberg et al. 2017, https://arxiv.org/abs/1711.09846, algorithm 1).

    Each segment of a member's training is a trial. Behind it the member is compared with all that have trained as long:
    one of the worst fifth goes on from the checkpoint of one of the best fifth (the paper's truncation selection),
    whose configuration it takes over and perturbs; the others go on as they are.

    Departures from the paper. Members are compared after the same number of steps, and not with whatever the others
    have come to, so that a slow worker's members are not taken for bad ones. One that is ahead of most others is
    compared where these are. A member whose segment failed copies a good one, too.
    """

    name = "pbt"

    def __init__(self, space: Space, *, seed: int, plan: Plan | None = None) -> None:
        super().__init__(space, seed=seed)
        self.plan = plan or Plan()
        self._axes = Axes(space)

    @classmethod
    def of(cls, spec: StudySpec) -> Self:
        """The sampler of a study, whose spec was reviewed."""
        steps, interval = spec.steps or 1, spec.search.interval or 1
        return cls(
            spec.search_space, seed=spec.search.seed, plan=Plan(spec.search.population, interval=interval, steps=steps)
        )

    def on(self, space: Space) -> Self:
        """The same population, in another space."""
        return type(self)(space, seed=self.seed, plan=self.plan)

    def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
        """The configurations of `suggest`."""
        found = self.suggest(position, n, history=history).found
        return [None if suggestion is None else suggestion.params for suggestion in found]

    def suggest(self, position: int, n: int, *, history: History) -> Suggestions:
        """The next segments of members that wait, the one that waits longest first; None where none is allowed."""
        population = Population.of(self.plan, history)
        turns = enumerate(population.turns()[:n], start=position)
        found = [self._next(member, at, population=population, history=history) for at, member in turns]
        return Suggestions(found, population.is_done)

    def _next(self, member: int, position: int, *, population: Population, history: History) -> Suggestion | None:
        """The member's next segment."""
        generator = np.random.default_rng([self.seed, position, 2])
        newest = population.newest(member)
        donors = () if newest is None else self._donors(newest, population)
        if newest is not None and newest.outcome is Outcome.COMPLETE and not donors:
            params = self._continued(history.configurations[newest.number], generator)
            parent: Record | None = newest
        elif donors:
            parent = donors[int(generator.integers(len(donors)))]
            params = self.perturbed(history.configurations[parent.number], generator)
        else:
            parent, params = None, self._begun(member, generator, is_first=newest is None)
        if params is None:
            return None
        if parent is None:
            return Suggestion(params, Segment(member, None, self.plan.until(0)))
        until = self.plan.until(population.generation(parent.number) + 1)
        return Suggestion(params, Segment(member, parent.number, until))

    @staticmethod
    def _donors(newest: Record, population: Population) -> Sequence[Record]:
        """The trials from one of which a member goes on whose newest trial is this; none: as it is, or anew."""
        generation = population.generation(newest.number)
        if newest.outcome is Outcome.COMPLETE:
            at = population.compared_at(generation)
            if at is None:
                return ()
            return better_than(population.ancestor(newest.number, at), population.completed(at))
        before = max(generation - 1, 0)
        at = population.compared_at(before)
        return population.completed(before)[:1] if at is None else best_of(population.completed(at))

    def _begun(self, member: int, generator: np.random.Generator, *, is_first: bool) -> Configuration | None:
        """The configuration of a member that begins anew: the first ones cover the space evenly."""
        d = self._axes.d
        if is_first:
            configuration = self._axes.configuration(covering_point(d, member, seed=self.seed))
            if self.space.allows(configuration):
                return configuration
        drawn = (self._axes.configuration(generator.random(d)) for _ in range(MAX_REDRAWS))
        return next((configuration for configuration in drawn if self.space.allows(configuration)), None)

    def _continued(self, params: Configuration, generator: np.random.Generator) -> Configuration | None:
        """The configuration as it is; moved where it does not lie in the space any more."""
        return params if self._axes.holds(params) else self.perturbed(params, generator)

    def perturbed(self, params: Configuration, generator: np.random.Generator) -> Configuration | None:
        """The configuration with each parameter resampled, or else moved; None where the space allows none of many."""
        for _ in range(MAX_REDRAWS):
            moved = {
                name: parameter.to_unit(_moved(parameter, params[name], generator))
                if name in params and parameter.contains(params[name]) and generator.random() >= P_RESAMPLE
                else generator.random()
                for name, parameter in self.space.parameters.items()
            }
            configuration = self.space.from_unit(moved)
            if self.space.allows(configuration):
                return configuration
        return params if self._axes.holds(params) else None


def _moved(parameter: Parameter, value: JsonValue, generator: np.random.Generator) -> JsonValue:
    """The value one step up or down; the other way at the end of its range.

    Choices have no order and stay, unless all of them are numbers: then the next one by size is taken.
    """
    up = bool(generator.integers(2))
    match parameter:
        case Fixed():
            return value
        case Choice(choice=values):
            return _neighbour(values, value, up=up)
        case _:
            first, second = (_scaled(parameter, value, up=direction) for direction in (up, not up))
            return second if first == value else first


def _scaled(parameter: RealRange | IntRange, value: JsonValue, *, up: bool) -> float | int:
    """A number times 1.2 or 0.8, within its range.

    On a log scale that is a step of equal length everywhere. On a linear one it is what the paper does, and so are its
    steps around 0 and below: away from the number by a fifth of its size.
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
    """The next larger or smaller one of choices that are numbers; the value itself where they are not."""
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) < len(values) or len(values) == 1:
        return value
    assert isinstance(value, int | float)
    ordered, step = sorted(numbers), 1 if up else -1
    at = ordered.index(value)
    return ordered[at + step if 0 <= at + step < len(ordered) else at - step]

"""A sampler's view of its study: all trials so far, as growing arrays.

A history is a fold over the study's events in their order: the same events give the same history. A proposal can
therefore be repeated from the events up to the last one that it saw.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from tunefleet.study.space import Configuration, Space
from tunefleet_master.search.axes import Axes, Mask, Points, row_keys
from tunefleet_master.search.segment import Segment

Values = NDArray[np.float64]
Indices = NDArray[np.int64]

INITIAL_CAPACITY = 64


class Outcome(IntEnum):
    """The outcome of a trial, as far as it is known."""

    PENDING = 0
    """The trial waits or runs."""
    COMPLETE = 1
    PRUNED = 2
    """The trial was stopped early; its value is that after `steps` steps."""
    INFEASIBLE = 3
    """The configuration is infeasible: it diverged, ran out of memory, reported so, or violates a bound on metrics."""
    UNKNOWN = 4
    """The trial was cancelled, or failed for a reason unrelated to its configuration."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a study, as far as it concerns samplers.

    Attributes:
        trial: the trial's number.
        outcome: the trial's outcome now.
        params: of a new trial, or of one that got another configuration; None: unchanged.
        values: one for each objective, in the user's own sense; empty without a result.
        steps: the number of steps run.
        rung: a step at which trials are compared, and that the trial reached with `values[0]`; None: no rung.
        segment: the segment of a new trial of a population.
    """

    trial: int
    outcome: Outcome
    params: Configuration | None = None
    values: tuple[float, ...] = ()
    steps: int = 0
    rung: int | None = None
    segment: Segment | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of the space. Trials outside of the new space stay in the history, but are no longer observations."""

    space: Space


@dataclass(frozen=True, slots=True)
class Prior:
    """The results of another study, as configurations of this study's space.

    Attributes:
        configurations: the best first.
        n_infeasible: the number of them, at the end, that are infeasible.
    """

    configurations: Sequence[Configuration]
    n_infeasible: int = 0


class History:
    """The trials of a study as arrays; row i is trial number i. Values are minimised throughout.

    With folds, a row is a configuration instead of a trial, and its value is the mean over its folds.

    Attributes:
        axes: of the space that coordinates belong to.
        n: the number of trials.
        n_ended: the number of trials that have ended.
        segments: the segments of a population's trials, by trial number.
        configurations: the exact configurations of these trials; points are rounded.
    """

    def __init__(
        self, space: Space, *, signs: tuple[float, ...] = (1.0,), stages: Sequence[int] = (), folds: int = 1
    ) -> None:
        """Create an empty history.

        Args:
            space: the space of the first trials.
            signs: -1 for each objective that is maximised and 1 for the others.
            stages: the number of the first trial of each stage but the first.
            folds: the number of trials of each configuration, which have consecutive numbers.
        """
        self.axes = Axes(space)
        self.n = 0
        self.n_ended = 0
        self.segments: dict[int, Segment] = {}
        self.configurations: dict[int, Configuration] = {}
        self._folds = folds
        self._of_folds: dict[int, dict[int, Change]] = {}  # of configurations that are not complete
        self._signs = np.array(signs)
        self._stages = np.array(stages, dtype=np.int64)
        self._points = np.empty((INITIAL_CAPACITY, self.axes.d))
        self._outcomes = np.empty(INITIAL_CAPACITY, dtype=np.int8)
        self._values = np.empty((INITIAL_CAPACITY, len(signs)))
        self._steps = np.empty(INITIAL_CAPACITY, dtype=np.int64)
        self._ended = np.empty(INITIAL_CAPACITY, dtype=np.int64)
        self._known: dict[bytes, int] = {}
        self._rungs: dict[int, dict[int, float]] = {}
        self._priors: list[Prior] = []
        self._prior_points: list[tuple[Points, Points]] = []

    @property
    def points(self) -> Points:
        """Points (n, d), canonical; NaN where a parameter is inactive."""
        return self._points[: self.n]

    @property
    def outcomes(self) -> NDArray[np.int8]:
        """Outcomes (n,), each an `Outcome`."""
        return self._outcomes[: self.n]

    @property
    def values(self) -> Values:
        """Values (n, m), minimised, one column for each objective; NaN where there is no result."""
        return self._values[: self.n]

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps run (n,)."""
        return self._steps[: self.n]

    @property
    def stages(self) -> Indices:
        """Stages (n,), from 0."""
        return np.searchsorted(self._stages, np.arange(self.n), side="right")

    @property
    def ended(self) -> NDArray[np.int64]:
        """Ranks (n,) in the order in which trials ended, from 0; -1 for a trial that has not ended."""
        return self._ended[: self.n]

    @property
    def n_stages(self) -> int:
        """The number of stages; 1 without stages."""
        return len(self._stages) + 1

    @property
    def fits(self) -> Mask:
        """A mask (n,) of the trials that lie in the current space; all of them unless it was edited."""
        return np.asarray(~np.isnan(self.points).all(axis=1))

    def with_outcome(self, *outcomes: Outcome) -> Indices:
        """Return the trials with one of these outcomes that lie in the space, in the order in which they ended."""
        found = np.flatnonzero(np.isin(self.outcomes, outcomes) & self.fits)
        return found[np.argsort(self._ended[found], kind="stable")]

    @property
    def pending(self) -> Indices:
        """Trials that wait or run, in order of their numbers."""
        return np.flatnonzero((self.outcomes == Outcome.PENDING) & self.fits)

    def rungs(self) -> Mapping[int, Mapping[int, float]]:
        """Return, for each step at which trials are compared, the minimised values of the trials that reached it."""
        return self._rungs

    def priors(self) -> list[tuple[Points, Points]]:
        """Return the results of each earlier study: points (n, d), the best first, and infeasible points.

        Points outside of the current space are left out.
        """
        return self._prior_points

    def _place_prior(self, prior: Prior) -> tuple[Points, Points]:
        n_ranked = len(prior.configurations) - prior.n_infeasible
        parts = prior.configurations[:n_ranked], prior.configurations[n_ranked:]
        ranked, infeasible = ([each for each in part if self.axes.holds(each)] for part in parts)
        return self.axes.canonical(self.axes.points(ranked)), self.axes.canonical(self.axes.points(infeasible))

    def knows(self, points: Points) -> Mask:
        """Return a mask (n,) of the canonical points (n, d) that are trials."""
        return np.array([key in self._known for key in row_keys(points)], dtype=np.bool_)

    def fold(self, changes: Iterable[Change | Edit | Prior]) -> None:
        """Fold in changes, in the order of their events."""
        for change in changes:
            match change:
                case Edit(space):
                    self._edit(space)
                case Prior():
                    self._priors.append(change)
                    self._prior_points.append(self._place_prior(change))
                case Change():
                    self._apply(change if self._folds == 1 else self._merged(change))

    def _merged(self, change: Change) -> Change:
        """Merge a change of a fold into its configuration."""
        configuration, fold = divmod(change.trial, self._folds)
        of_folds = self._of_folds.setdefault(configuration, {})
        of_folds[fold] = change
        found = merged(configuration, of_folds.values(), folds=self._folds)
        if found.outcome is Outcome.COMPLETE:
            del self._of_folds[configuration]
        return found

    def _apply(self, change: Change) -> None:
        i = change.trial
        if i >= self.n:
            self._extend(i + 1)
        if change.params is not None:
            self._place(i, change.params)
        if change.segment is not None and change.params is not None:
            self.segments[i], self.configurations[i] = change.segment, change.params
        if change.rung is not None:
            self._rungs.setdefault(change.rung, {})[i] = float(self._signs[0] * change.values[0])
            return
        had_ended = self._outcomes[i] != Outcome.PENDING
        has_ended = change.outcome is not Outcome.PENDING
        self._outcomes[i] = change.outcome
        self._steps[i] = change.steps
        self._values[i] = self._signs * np.array(change.values) if change.values else math.nan
        if has_ended and not had_ended:
            self._ended[i] = self.n_ended
            self.n_ended += 1

    def _edit(self, space: Space) -> None:
        """Move to the axes of another space, and find the trials that lie in it."""
        pairs = zip(self.points, self.fits, strict=True)
        old = [self.axes.configuration(point) if fits else None for point, fits in pairs]
        self.axes = Axes(space)
        self._prior_points = [self._place_prior(prior) for prior in self._priors]
        self._points = np.full((len(self._points), self.axes.d), math.nan)
        self._known = {}
        for i, configuration in enumerate(old):
            if configuration is not None and self.axes.holds(configuration):
                self._place(i, configuration)

    def _place(self, i: int, params: Configuration) -> None:
        point = self.axes.canonical(self.axes.point(params)[None])
        self._points[i] = point
        self._known[row_keys(point)[0]] = i

    def _extend(self, n: int) -> None:
        if n > len(self._points):
            capacity = max(n, 2 * len(self._points))
            for name in ("_points", "_outcomes", "_values", "_steps", "_ended"):
                old = getattr(self, name)
                new = np.empty((capacity, *old.shape[1:]), dtype=old.dtype)
                new[: self.n] = old[: self.n]
                setattr(self, name, new)
        self._points[self.n : n] = math.nan
        self._outcomes[self.n : n] = Outcome.PENDING
        self._values[self.n : n] = math.nan
        self._steps[self.n : n] = 0
        self._ended[self.n : n] = -1
        self.n = n


def merged(configuration: int, of_folds: Collection[Change], *, folds: int) -> Change:
    """Merge the newest changes of a configuration's folds into one.

    The configuration is pending until all folds have ended. It is complete if all folds are, with the mean of their
    values. It is infeasible if one fold is, and unknown if one failed otherwise. Else it was pruned, with the mean of
    the complete folds.
    """
    params = next((each.params for each in of_folds if each.params is not None), None)
    outcomes = {each.outcome for each in of_folds}
    if len(of_folds) < folds or Outcome.PENDING in outcomes:
        return Change(configuration, Outcome.PENDING, params)
    steps = max(each.steps for each in of_folds)
    worst = next((each for each in (Outcome.INFEASIBLE, Outcome.UNKNOWN) if each in outcomes), None)
    if worst is not None:
        return Change(configuration, worst, params, steps=steps)
    outcome = Outcome.PRUNED if Outcome.PRUNED in outcomes else Outcome.COMPLETE
    counted = [each.values[0] for each in of_folds if each.outcome is Outcome.COMPLETE]
    return Change(configuration, outcome, params, values=(fmean(counted),) if counted else (), steps=steps)

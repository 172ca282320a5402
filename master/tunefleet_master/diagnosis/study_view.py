"""A study as the input of rules: its spec, its history, and quantities derived from both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from pydantic import JsonValue

from tunefleet.study.parameters import Conditional, IntRange, Parameter, RealRange
from tunefleet.study.spec import StudySpec
from tunefleet_master.diagnosis.finding import shown as shown  # rules over studies import it from here
from tunefleet_master.diagnosis.importance import Importance, importance
from tunefleet_master.diagnosis.reported import Reported
from tunefleet_master.search.axes import Mask, Points
from tunefleet_master.search.history import History, Outcome, Values
from tunefleet_master.search.observations import Observations, collect_observations


@dataclass(frozen=True)
class StudyView:
    """The input of rules over studies; costly quantities are computed once, on demand.

    Attributes:
        history: all trials.
        spec: the study's current spec.
        n_more: the number of trials to come; None: what the budget has left.
        reported: the reports of its trials; empty if they were not read.
    """

    history: History
    spec: StudySpec
    n_more: int | None = None
    reported: Reported = field(default_factory=Reported)

    @cached_property
    def observations(self) -> Observations:
        """Points and scores of trials, in the order in which they ended; lower is better."""
        return collect_observations(self.history)

    @cached_property
    def importance(self) -> Importance | None:
        """The importance of parameters; None with too few trials."""
        return importance(self.history)

    @cached_property
    def order(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The indices (n,) of the observations, the best first."""
        return np.argsort(self.observations.scores, kind="stable")

    @cached_property
    def tried(self) -> tuple[Points, Mask]:
        """The points (n, d) of all trials with an outcome, and a mask (n,) of the infeasible ones."""
        indices = self.history.with_outcome(Outcome.COMPLETE, Outcome.PRUNED, Outcome.INFEASIBLE)
        return self.history.points[indices], self.history.outcomes[indices] == Outcome.INFEASIBLE

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters of the current space; axis j is the j-th."""
        return self.history.axes.space.parameters

    def tuned(self) -> Iterator[tuple[int, str, Parameter]]:
        """Yield each parameter with more than one value: its axis, its name and itself."""
        for j, (name, parameter) in enumerate(self.parameters.items()):
            if not self.history.axes.is_fixed[j]:
                yield j, name, parameter

    @property
    def sign(self) -> float:
        """The factor that turns a minimised value into the user's own sense."""
        return 1.0 if self.spec.objective.goal == "minimize" else -1.0


def coordinates(points: Points, j: int) -> Values:
    """Return the coordinates on axis j that are not NaN."""
    found = points[:, j]
    return found[~np.isnan(found)]


def as_written(parameter: Conditional, **changes: JsonValue) -> dict[str, JsonValue]:
    """Return a parameter as a user would write it, with some keys changed; None removes a key."""
    written = {**parameter.model_dump(mode="json", by_alias=True, exclude_defaults=True), **changes}
    return {key: value for key, value in written.items() if value is not None}


def with_bounds(parameter: RealRange | IntRange, bounds: tuple[float, float]) -> dict[str, JsonValue]:
    """Return a range with other bounds, as a user would write it."""
    key = type(parameter).model_fields["bounds"].alias or "bounds"
    return {**as_written(parameter), key: list(bounds)}

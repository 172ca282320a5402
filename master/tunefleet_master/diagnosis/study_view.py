"""A study as its rules see it: what was asked for, what has come of it, and what follows from both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from pydantic import JsonValue

from tunefleet.study.parameters import Conditional, IntRange, Parameter, RealRange
from tunefleet.study.spec import StudySpec
from tunefleet_master.diagnosis.finding import shown as shown  # what rules over studies say, they say of a view
from tunefleet_master.diagnosis.importance import Importance, importance
from tunefleet_master.diagnosis.reported import Reported
from tunefleet_master.search.axes import Mask, Points
from tunefleet_master.search.history import History, Outcome, Values
from tunefleet_master.search.observations import Observations, evidence


@dataclass(frozen=True)
class StudyView:
    """What rules ask; what is costly is computed once, when a rule asks for it.

    Attributes:
        history: all that has happened.
        spec: the study as it stands.
        n_more: how many trials are to come; None: what the budget has left.
        reported: what the trials reported; empty: nobody has read it.
    """

    history: History
    spec: StudySpec
    n_more: int | None = None
    reported: Reported = field(default_factory=Reported)

    @cached_property
    def evidence(self) -> Observations:
        """Points and scores, the first that ended first; lower is better."""
        return evidence(self.history)

    @cached_property
    def importance(self) -> Importance | None:
        """None with too few trials."""
        return importance(self.history)

    @cached_property
    def order(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The trials of the evidence, the best first."""
        return np.argsort(self.evidence.scores, kind="stable")

    @cached_property
    def tried(self) -> tuple[Points, Mask]:
        """The points (n, d) of all trials whose configuration was judged, and which of them (n,) cannot be trained."""
        indices = self.history.with_outcome(Outcome.COMPLETE, Outcome.PRUNED, Outcome.INFEASIBLE)
        return self.history.points[indices], self.history.outcomes[indices] == Outcome.INFEASIBLE

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Of the space as it is now; axis j is the j-th of them."""
        return self.history.axes.space.parameters

    def tuned(self) -> Iterator[tuple[int, str, Parameter]]:
        """Each parameter that has more than one value: its axis, its name and itself."""
        for j, (name, parameter) in enumerate(self.parameters.items()):
            if not self.history.axes.is_fixed[j]:
                yield j, name, parameter

    @property
    def sign(self) -> float:
        """What a minimised value is multiplied with to be in the user's own sense."""
        return 1.0 if self.spec.objective.goal == "minimize" else -1.0


def coordinates(points: Points, j: int) -> Values:
    """Those on axis j that are not NaN."""
    found = points[:, j]
    return found[~np.isnan(found)]


def as_written(parameter: Conditional, **changes: JsonValue) -> dict[str, JsonValue]:
    """A parameter as a user would write it, with some of its keys changed; None takes a key away."""
    written = {**parameter.model_dump(mode="json", by_alias=True, exclude_defaults=True), **changes}
    return {key: value for key, value in written.items() if value is not None}


def with_bounds(parameter: RealRange | IntRange, bounds: tuple[float, float]) -> dict[str, JsonValue]:
    """A range as a user would write it, with other bounds."""
    key = type(parameter).model_fields["bounds"].alias or "bounds"
    return {**as_written(parameter), key: list(bounds)}

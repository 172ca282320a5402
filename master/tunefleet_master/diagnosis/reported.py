"""What the trials of a study reported, beyond the values that a history has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tunefleet_master.diagnosis.training.curve import TrialCurve

MAX_CURVES = 12
"""Of the best trials, whose curves are read; more say the same."""

MAX_RESULTS = 1_000


@dataclass(frozen=True, slots=True)
class Reported:
    """What is read for the rules that look at trials.

    Attributes:
        best: curves of the best trials that are complete, by number, the best first.
        results: the metrics of complete trials, by number, at the step that counts.
    """

    best: Mapping[int, TrialCurve] = field(default_factory=dict)
    results: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def curves(self) -> Sequence[TrialCurve]:
        """The best first."""
        return list(self.best.values())

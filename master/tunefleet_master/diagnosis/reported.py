"""The reports of a study's trials, beyond the values in its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tunefleet_master.diagnosis.training.curve import TrialCurve

MAX_CURVES = 12
"""The number of best trials that have their curves read; more trials rarely add anything."""

MAX_RESULTS = 1_000


@dataclass(frozen=True, slots=True)
class Reported:
    """Reports for the rules on trials.

    Attributes:
        best: curves of the best complete trials, by number, the best first.
        results: the metrics of complete trials, by number, at the step that counts.
    """

    best: Mapping[int, TrialCurve] = field(default_factory=dict)
    results: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def curves(self) -> Sequence[TrialCurve]:
        """The curves, the best first."""
        return list(self.best.values())

"""The interface of rules over one trial."""

from __future__ import annotations

from typing import ClassVar, Protocol

from tunefleet_master.diagnosis.finding import Finding
from tunefleet_master.diagnosis.training.curve import TrialCurve


class TrialRule(Protocol):
    """A rule checks one trial for one problem; its thresholds are its attributes.

    Attributes:
        code: of its findings.
        source: the reference for the rule, and the origin of its thresholds.
    """

    code: ClassVar[str]
    source: ClassVar[str]

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Return a finding; None if all is well, or if too little was reported."""
        ...


CALIBRATED = "the thresholds are ours, set on benchmarks/clinic.py"
"""The end of the source of a rule with thresholds calibrated on trainings with planted faults."""

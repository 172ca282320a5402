"""What a rule over one trial is."""

from __future__ import annotations

from typing import ClassVar, Protocol

from tunefleet_master.diagnosis.finding import Finding
from tunefleet_master.diagnosis.training.curve import TrialCurve


class TrialRule(Protocol):
    """Looks at one trial for one thing; its thresholds are its attributes.

    Attributes:
        code: that its findings have.
        source: who says that it matters, and whose the thresholds are.
    """

    code: ClassVar[str]
    source: ClassVar[str]

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """What is found; None where all is well, or too little was reported to tell."""
        ...


CALIBRATED = "the thresholds are ours, set on benchmarks/clinic.py"
"""How the source of a rule ends whose thresholds were chosen on trainings with planted faults."""

"""Rules on the number of steps of a trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.training.curve import TrialCurve, usable
from tunefleet_master.diagnosis.training.generalization import jitter

SOURCE = "Google tuning playbook, on choosing the number of steps: the best checkpoint {}, its own numbers."
MIN_LENGTH = 10  # evaluations: one of them is then a tenth


@dataclass(frozen=True, slots=True)
class BudgetTooShort:
    """The objective is best in the last quarter and still improves there."""

    share: float = 0.75  # of the steps
    gain: float = 0.02  # of the total gain, in the last quarter
    noises: float = 2.0  # standard deviations of its noise

    code: ClassVar[str] = "budget_too_short"
    source: ClassVar[str] = SOURCE.format("is in the last 25 % of the steps")

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check a trial that ran to its end."""
        judged = usable(curve.judged, min_length=MIN_LENGTH)
        if judged is None or not curve.is_whole:
            return None
        values, best = judged.values, int(judged.values.argmin())
        early = _fraction(judged.steps) < self.share
        gained = float(values[early].min() - values[best]) if early.any() else 0.0
        whole = float(values[0] - values[best])
        if early[best] or gained < self.gain * whole or gained < self.noises * jitter(values[~early]):
            return None
        return Finding(
            code=self.code,
            severity=Severity.NOTE,
            sentence=f"{judged.name} is best at step {int(judged.steps[best])} of {int(judged.steps[-1])}, and "
            f"{gained / whole:.0%} of its total gain came in the last quarter: more steps would gain more.",
            remedy="Train longer, and stretch the decay of the learning rate accordingly. Do not tune the number of "
            "steps itself.",
            source=self.source,
            evidence={"best_step": int(judged.steps[best]), "last_step": int(judged.steps[-1]), "gained": gained},
        )


@dataclass(frozen=True, slots=True)
class BudgetTooLong:
    """The objective is best in the first tenth."""

    share: float = 0.1  # of the steps

    code: ClassVar[str] = "budget_too_long"
    source: ClassVar[str] = SOURCE.format("is in the first 10 % of the steps")

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check a trial that ran to its end."""
        judged = usable(curve.judged, min_length=MIN_LENGTH)
        if judged is None or not curve.is_whole or np.ptp(judged.values) == 0:
            return None
        best = int(judged.values.argmin())
        if _fraction(judged.steps)[best] > self.share:
            return None
        return Finding(
            code=self.code,
            severity=Severity.NOTE,
            sentence=f"{judged.name} is best at step {int(judged.steps[best])} of {int(judged.steps[-1])}, in the "
            "first tenth of the training.",
            remedy="Give trials a fraction of the steps, and the study more trials. If the metric gets worse after "
            "that step, lower the learning rate or regularise first.",
            source=self.source,
            evidence={"best_step": int(judged.steps[best]), "last_step": int(judged.steps[-1])},
        )


def _fraction(steps: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the position of each evaluation in the training, in (0, 1]."""
    every = np.median(np.diff(steps)) if len(steps) > 1 else 1
    begin = steps[0] - every
    return np.asarray((steps - begin) / max(float(steps[-1] - begin), 1e-12))

"""What `trial.watch` saw of what a model is given: samples of validation in training, parts prepared unalike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tunefleet.protocol.telemetry import INPUT_SCALE, INPUT_SHIFT, VAL_SEEN
from tunefleet_master.diagnosis.finding import Finding, Severity, shown
from tunefleet_master.diagnosis.training.curve import TrialCurve

KAUFMAN = "Kaufman et al. 2012, on leakage (doi:10.1145/2382577.2382579)"
LECUN = "LeCun et al. 1998, Efficient BackProp, section 4.3"


@dataclass(frozen=True, slots=True)
class Leak:
    """Training has seen samples of validation, equal to the bit."""

    most: float = 0.05  # of validation

    code: ClassVar[str] = "leak"
    source: ClassVar[str] = f"{KAUFMAN}; 5 % is ours."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """The newest comparison decides."""
        share = _newest(curve, VAL_SEEN)
        if share is None or share <= self.most:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{share:.0%} of what validation is measured on was trained on: validation tells what "
            "the model remembers.",
            remedy="Divide the samples before anything else is done with them, without equal ones in both parts "
            "(`tunefleet check STUDY.yaml --data` finds those of a built-in data set; `data.group` keeps a patient or "
            "a day in one part).",
            source=self.source,
            evidence={"share": share, "most": self.most},
        )


@dataclass(frozen=True, slots=True)
class InputsUnscaled:
    """What the first layer is given is far larger than networks are made for, and it does not normalise it."""

    most: float = 10.0  # root mean square; standardised ones have 1, pictures between 0 and 1 less

    code: ClassVar[str] = "inputs_unscaled"
    source: ClassVar[str] = f"{LECUN}: inputs of mean 0 and deviation 1; a factor of 10 is ours."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Of real numbers alone: names of words are no sizes."""
        scale = _newest(curve, INPUT_SCALE)
        if scale is None or scale <= self.most:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"The inputs have a root mean square of {shown(scale)}, where networks are made for about 1.",
            remedy="Standardise each feature with the mean and the deviation of the training part, or let a "
            "normalising layer be the first.",
            source=self.source,
            evidence={"scale": scale, "most": self.most},
        )


@dataclass(frozen=True, slots=True)
class InputsShifted:
    """Inputs of validation are not on the scale of those of training."""

    most: float = 1.0  # deviations between the means, or a factor of 3 between the deviations

    code: ClassVar[str] = "inputs_shifted"
    source: ClassVar[str] = f"{LECUN}; Google tuning playbook, on input pipelines; the thresholds are ours."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Parts of one data set differ by far less; a part of another time may."""
        shift = _newest(curve, INPUT_SHIFT)
        if shift is None or shift <= self.most:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence="The inputs of validation are on another scale than those of training: the means are apart by "
            f"more than training's deviation, or the deviations by a factor of more than 3 ({shown(shift)} times as "
            "much as is usual at most).",
            remedy="Prepare both parts by the same function, with the mean and the deviation of the training part.",
            source=self.source,
            evidence={"shift": shift, "most": self.most},
        )


def _newest(curve: TrialCurve, name: str) -> float | None:
    values = curve.series(name).finest.values
    return float(values[-1]) if len(values) else None

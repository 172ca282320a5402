"""Rules on a model's inputs, from the telemetry of `trial.watch`: leaked samples, and scales of the inputs."""

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
    """Training has seen exact copies of validation samples."""

    limit: float = 0.05  # of validation

    code: ClassVar[str] = "leak"
    source: ClassVar[str] = f"{KAUFMAN}; 5 % is ours."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the newest comparison."""
        share = _newest(curve, VAL_SEEN)
        if share is None or share <= self.limit:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{share:.0%} of the validation samples were trained on: validation measures what the model "
            "remembers.",
            remedy="Split the samples before any other step, without equal ones in both parts. `tunefleet check "
            "STUDY.yaml --data` finds equal samples of a built-in data set; `data.group` keeps a group, such as a "
            "patient or a day, in one part.",
            source=self.source,
            evidence={"share": share, "most": self.limit},
        )


@dataclass(frozen=True, slots=True)
class InputsUnscaled:
    """The inputs of the first layer are far larger than networks are designed for, and it does not normalise them."""

    limit: float = 10.0  # root mean square; standardised inputs have 1, images in [0, 1] less

    code: ClassVar[str] = "inputs_unscaled"
    source: ClassVar[str] = f"{LECUN}: inputs of mean 0 and deviation 1; a factor of 10 is ours."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check real-valued inputs only: token ids have no scale."""
        scale = _newest(curve, INPUT_SCALE)
        if scale is None or scale <= self.limit:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"The inputs have a root mean square of {shown(scale)}; networks are designed for about 1.",
            remedy="Standardise each feature with the mean and standard deviation of the training part, or start with "
            "a normalisation layer.",
            source=self.source,
            evidence={"scale": scale, "most": self.limit},
        )


@dataclass(frozen=True, slots=True)
class InputsShifted:
    """Validation inputs have another scale than training inputs."""

    limit: float = 1.0  # standard deviations between the means, or a factor of 3 between the standard deviations

    code: ClassVar[str] = "inputs_shifted"
    source: ClassVar[str] = f"{LECUN}; Google tuning playbook, on input pipelines; the thresholds are ours."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the newest comparison; parts of one data set differ by far less, parts of different times may not."""
        shift = _newest(curve, INPUT_SHIFT)
        if shift is None or shift <= self.limit:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence="The validation inputs have another scale than the training inputs: the means differ by more "
            f"than a standard deviation, or the standard deviations by more than a factor of 3 ({shown(shift)} times "
            "the usual limit).",
            remedy="Prepare both parts with the same function, with the mean and standard deviation of the training "
            "part.",
            source=self.source,
            evidence={"shift": shift, "most": self.limit},
        )


def _newest(curve: TrialCurve, name: str) -> float | None:
    values = curve.series(name).finest.values
    return float(values[-1]) if len(values) else None

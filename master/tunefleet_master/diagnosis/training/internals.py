"""Rules on a model's internals, from the telemetry of `trial.watch`: updates of the weights, and dead units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tunefleet.protocol.telemetry import DEAD_UNITS, RATIO_BAND, SATURATED_UNITS, UPDATE_RATIO
from tunefleet_master.diagnosis.finding import Finding, Severity, shown
from tunefleet_master.diagnosis.training.curve import TrialCurve, usable
from tunefleet_master.diagnosis.training.rule import CALIBRATED

LECTURE = "The lecture, on the ratio of updates to weights: about 1e-3"
BENGIO = "Bengio 2012, section 3.2 (arXiv:1206.5533)"


@dataclass(frozen=True, slots=True)
class UpdateRatio:
    """Updates are too large or too small for the weights."""

    low: float = RATIO_BAND[0]
    high: float = RATIO_BAND[1]

    code: ClassVar[str] = "update_ratio"
    source: ClassVar[str] = f"{LECTURE}; the band is ours, measured."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the median over the weight tensors, in the second and third epoch."""
        series = usable(curve.series(UPDATE_RATIO), min_length=1)
        if series is None:
            return None
        ratio = float(np.median(series.values[1:3] if len(series) > 1 else series.values))
        if self.low <= ratio <= self.high:
            return None
        is_large = ratio > self.high
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"An update changes the weights by {shown(ratio)} of their norm; {shown(self.low)} to "
            f"{shown(self.high)} is usual.",
            remedy="Lower the learning rate, or warm it up." if is_large else "Raise the learning rate.",
            source=self.source,
            evidence={"ratio": ratio, "low": self.low, "high": self.high},
        )


@dataclass(frozen=True, slots=True)
class LayersApart:
    """One weight tensor changes a hundred times as fast as another, or not at all."""

    apart: float = 100.0

    code: ClassVar[str] = "layers_apart"
    source: ClassVar[str] = f"{LECTURE}; a factor of 100 is ours."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check trainable tensors; deliberately frozen ones are not among them."""
        ratios = curve.update_ratios
        if len(ratios) < 2:
            return None
        slow, fast = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
        if ratios[fast] <= self.apart * ratios[slow]:
            return None
        still = [name for name, ratio in ratios.items() if ratio == 0]
        named = ", ".join(still[:3]) + (", …" if len(still) > 3 else "")
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{len(still)} of {len(ratios)} weight tensors never change: {named}."
            if still
            else f"An update changes {fast} by {shown(ratios[fast])} of its norm and {slow} by {shown(ratios[slow])}.",
            remedy="Check that the optimizer has these tensors and that no detach separates them from the loss. Set "
            "requires_grad=False on tensors that are not to be trained."
            if still
            else "Check the initialisation and normalisation of these two, or give them separate learning rates.",
            source=self.source,
            evidence={"slowest": ratios[slow], "fastest": ratios[fast], "n_still": len(still)},
        )


@dataclass(frozen=True, slots=True)
class DeadUnits:
    """Many hidden units are dead or saturated."""

    dead: float = 0.4
    saturated: float = 0.5

    code: ClassVar[str] = "dead_units"
    source: ClassVar[str] = f"{BENGIO}, on saturation; 40 % and 50 % are ours; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the last three measurements."""
        for name, limit, predicate in (
            (DEAD_UNITS, self.dead, "are zero"),
            (SATURATED_UNITS, self.saturated, "are saturated"),
        ):
            series = usable(curve.series(name), min_length=1)
            share = 0.0 if series is None else float(np.median(series.values[-3:]))
            if share > limit:
                return self._finding(share, limit, predicate)
        return None

    def _finding(self, share: float, limit: float, predicate: str) -> Finding:
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{share:.0%} of the hidden units {predicate} for a whole batch; above {limit:.0%} is too many.",
            remedy="Lower the learning rate, standardise inputs, initialise as in He et al. 2015, or normalise. A "
            "leaky activation does not die.",
            source=self.source,
            evidence={"share": share, "most": limit},
        )

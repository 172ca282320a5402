"""Detection rates of the diagnosis rules, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.fault_cases.faults import FAULTS
from benchmarks.fault_cases.runner import RunRecord

from tunefleet_master.diagnosis.finding import Finding
from tunefleet_master.diagnosis.training.curve import TrialCurve
from tunefleet_master.diagnosis.training.findings import is_alarm, trial_findings
from tunefleet_master.diagnosis.training.rules import TRIAL_RULES

Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Share:
    """A count out of a total."""

    n: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of 95 % (Wilson 1927), which also holds where none or all are counted."""
        if not self.of:
            return 0.0, 1.0
        share, spread = self.n / self.of, Z * Z / self.of
        middle = (share + spread / 2) / (1 + spread)
        half = Z / (1 + spread) * math.sqrt(share * (1 - share) / self.of + spread / (4 * self.of))
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        """Count, percentage and interval."""
        low, high = self.interval
        return f"{self.n}/{self.of} ({low:.0%} to {high:.0%})" if self.of else "-"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The record of a case, and the findings on it."""

    record: RunRecord
    findings: Sequence[Finding]

    @property
    def alarms(self) -> set[str]:
        """The codes of findings of severity warning or higher."""
        return {finding.code for finding in self.findings if is_alarm(finding)}

    @property
    def fault(self) -> str | None:
        """The planted fault; None in a healthy run."""
        return self.record.case.fault

    @property
    def is_named(self) -> bool:
        """True if an alarm names the fault."""
        return self.fault is not None and bool(self.alarms & set(FAULTS[self.fault].signs))


def diagnosed(record: RunRecord) -> Diagnosis:
    """Run all rules on the record."""
    case = record.case if record.case.fault is None else FAULTS[record.case.fault].settings(record.case)
    settings = case.settings
    curve = TrialCurve(
        points=[(step, metrics) for step, metrics in enumerate(record.curve)],
        metric="val_accuracy",
        maximised=True,
        steps=settings.epochs,
        params={
            **{"lr": settings.lr, "optimizer": settings.optimizer, "batch_size": settings.batch_size},
            **{"dropout": settings.dropout, "weight_decay": settings.weight_decay},
        },
        update_ratios=record.update_ratios,
    )
    return Diagnosis(record, trial_findings(curve))


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """One rule: its detections among the runs that it should name, and its alarms among healthy runs."""

    code: str
    faults: tuple[str, ...]
    detected: Share
    false_alarms: Share
    notes: Share
    """Healthy runs with a finding of this rule below the severity of an alarm."""


@dataclass(frozen=True, slots=True)
class FaultFigures:
    """One fault: the runs with any alarm, and those with an alarm that names it."""

    fault: str
    detected: Share
    named: Share
    said: dict[str, int]
    """The number of alarms of each rule."""


def rule_figures(found: Sequence[Diagnosis]) -> list[RuleFigures]:
    """Return the figures of each rule, in order."""
    return [_of_rule(row.code, found) for row in TRIAL_RULES]


def _of_rule(code: str, found: Sequence[Diagnosis]) -> RuleFigures:
    faults = tuple(name for name, fault in FAULTS.items() if code in fault.signs)
    well = [each for each in found if each.fault is None]
    return RuleFigures(
        code,
        faults,
        detected=_share(code in each.alarms for each in found if each.fault in faults),
        false_alarms=_share(code in each.alarms for each in well),
        notes=_share(any(f.code == code and not is_alarm(f) for f in each.findings) for each in well),
    )


def fault_figures(found: Sequence[Diagnosis]) -> list[FaultFigures]:
    """Return the figures of each fault, in order."""
    return [_of_fault(fault, [each for each in found if each.fault == fault]) for fault in FAULTS]


def _of_fault(fault: str, found: Sequence[Diagnosis]) -> FaultFigures:
    said = {row.code: sum(row.code in each.alarms for each in found) for row in TRIAL_RULES}
    return FaultFigures(
        fault,
        detected=_share(bool(each.alarms) for each in found),
        named=_share(each.is_named for each in found),
        said={code: n for code, n in said.items() if n},
    )


def overall(found: Sequence[Diagnosis]) -> tuple[Share, Share]:
    """Return the shares of sick and of healthy runs with an alarm."""
    sick = _share(bool(each.alarms) for each in found if each.fault is not None)
    return sick, _share(bool(each.alarms) for each in found if each.fault is None)


def _share(said: Iterable[bool]) -> Share:
    answers = list(said)
    return Share(sum(answers), len(answers))

"""Parameters that make no difference."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.study_view import StudyView

NEGLIGIBLE = 0.05  # of the variance, alone and with others; in 150 trials, trees see .02 to .04 in what does nothing


def idle_parameters(view: StudyView) -> Iterator[Finding]:
    """Those that explain next to nothing, neither alone nor together with others; one finding for all of them.

    A conditional parameter is never meant: where it is rarely active it explains little, and may still matter there.
    """
    found = view.importance
    if found is None:
        return
    totals = {effect.parameter: effect.total for effect in found.effects}
    best = view.evidence.points[view.order[0]]
    idle: dict[str, JsonValue] = {
        name: parameter.from_unit(float(best[j]))
        for j, name, parameter in view.tuned()
        if parameter.when is None and totals[name] <= NEGLIGIBLE
    }
    if not idle:
        return
    said = ", ".join(f"{totals[name]:.1%} is due to {name}" for name in idle)
    yield Finding(
        code="no_effect",
        severity=Severity.NOTE,
        sentence=f"Of what {found.n_trials} trials differ in, {said}, alone and together with others.",
        remedy="Fix what does so little at the value of the best trial, and spend the trials on the rest.",
        source="Hutter, Hoos and Leyton-Brown 2014; 5 % is our threshold.",
        evidence={"n_trials": found.n_trials, "total_shares": {name: totals[name] for name in idle}},
        edit={name: {"fixed": value} for name, value in idle.items()},
    )

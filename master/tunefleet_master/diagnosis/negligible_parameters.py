"""A finding on parameters that have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.study_view import StudyView

NEGLIGIBLE = 0.05  # of the variance, with interactions; with 150 trials, .02 to .04 may be noise


def negligible_parameters(view: StudyView) -> Iterator[Finding]:
    """Find parameters that explain almost none of the variance, alone or in interactions; one finding for all of them.

    Conditional parameters are exempt: a rarely active one explains little in total, and may still matter where active.
    """
    found = view.importance
    if found is None:
        return
    totals = {effect.parameter: effect.total for effect in found.effects}
    best = view.observations.points[view.order[0]]
    negligible: dict[str, JsonValue] = {
        name: parameter.from_unit(float(best[j]))
        for j, name, parameter in view.tuned()
        if parameter.when is None and totals[name] <= NEGLIGIBLE
    }
    if not negligible:
        return
    shares = ", ".join(f"{name} explains {totals[name]:.1%}" for name in negligible)
    yield Finding(
        code="no_effect",
        severity=Severity.NOTE,
        sentence=f"Over {found.n_trials} trials, {shares} of the variance of the objective, including interactions.",
        remedy="Fix these parameters at the values of the best trial, and spend the trials on the others.",
        source="Hutter, Hoos and Leyton-Brown 2014; 5 % is our threshold.",
        evidence={"n_trials": found.n_trials, "total_shares": {name: totals[name] for name in negligible}},
        edit={name: {"fixed": value} for name, value in negligible.items()},
    )

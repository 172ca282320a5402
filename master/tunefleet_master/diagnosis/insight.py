"""The complete diagnosis of a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from tunefleet_master.diagnosis.expected_gain import ExpectedGain, expected_gain, missing_data
from tunefleet_master.diagnosis.finding import Finding
from tunefleet_master.diagnosis.importance import Importance, trials_needed
from tunefleet_master.diagnosis.study_findings import findings
from tunefleet_master.diagnosis.study_view import StudyView


@dataclass(frozen=True, slots=True)
class Insight:
    """The diagnosis of a study.

    Attributes:
        findings: the most severe first.
        importance: of the parameters; None: unknown, and `unknown` gives the reason.
        expected_gain: the expected gain of the trials to come; None: unknown, or there are none.
        unknown: a sentence for each unknown quantity, with what it requires.
    """

    findings: Sequence[Finding]
    importance: Importance | None
    expected_gain: ExpectedGain | None
    unknown: Sequence[str]


def insight(view: StudyView) -> Insight:
    """Return the complete diagnosis; shared quantities are computed once. Takes as long as `importance`."""
    return Insight(
        findings=findings(view),
        importance=view.importance,
        expected_gain=expected_gain(view.history, view.spec, n_more=view.n_more),
        unknown=list(_unknown(view)),
    )


def _unknown(view: StudyView) -> Iterator[str]:
    if view.spec.several_objectives:
        first = view.spec.objective.metric
        yield f"These findings concern {first}, the first objective; the others are not diagnosed."
    needed, n = trials_needed(view.history.axes), len(view.observations.scores)
    if view.importance is None and n < needed:
        yield f"The importance of parameters is unknown until {needed} trials have a result; so far {n} have one."
    elif view.importance is None and find_spec("sklearn") is None:
        yield (
            "The importance of parameters is unknown: the master lacks scikit-learn (pip install 'tunefleet[search]')."
        )
    lacks = missing_data(view.history, view.spec, n_more=view.n_more)
    if lacks is not None:
        yield lacks

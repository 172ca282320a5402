"""All that diagnosis says of a study, and what it cannot say yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from tunefleet_master.diagnosis.expected_gain import ExpectedGain, expected_gain, lacking
from tunefleet_master.diagnosis.finding import Finding
from tunefleet_master.diagnosis.importance import Importance, trials_needed
from tunefleet_master.diagnosis.study_findings import findings
from tunefleet_master.diagnosis.study_view import StudyView


@dataclass(frozen=True, slots=True)
class Insight:
    """What a study shows.

    Attributes:
        findings: the gravest first.
        importance: of the parameters; None: it is not known, and `unknown` says why.
        worth: what the trials to come are expected to gain; None: it is not known, or none are to come.
        unknown: a sentence for each thing that is not known, with what it takes.
    """

    findings: Sequence[Finding]
    importance: Importance | None
    worth: ExpectedGain | None
    unknown: Sequence[str]


def insight(view: StudyView) -> Insight:
    """Everything at once; the costly parts are computed once for all. Takes as long as `importance`."""
    return Insight(
        findings=findings(view),
        importance=view.importance,
        worth=expected_gain(view.history, view.spec, n_more=view.n_more),
        unknown=list(_unknown(view)),
    )


def _unknown(view: StudyView) -> Iterator[str]:
    if view.spec.several_objectives:
        first = view.spec.objective.metric
        yield f"What is said here is of {first}, the first of the objectives; of the others it is not known."
    needed, n = trials_needed(view.history.axes), len(view.evidence.scores)
    if view.importance is None and n < needed:
        yield f"Which parameters matter is known from {needed} trials with a result on; so far there are {n}."
    elif view.importance is None and find_spec("sklearn") is None:
        yield "Which parameters matter is not known: the master lacks scikit-learn (pip install 'tunefleet[search]')."
    lacks = lacking(view.history, view.spec, n_more=view.n_more)
    if lacks is not None:
        yield lacks

"""The process that works out what studies show."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import cast

from tunefleet.errors import TunefleetError
from tunefleet.study.spec import StudySpec
from tunefleet_master.diagnosis.insight import Insight, insight
from tunefleet_master.diagnosis.reported import Reported
from tunefleet_master.diagnosis.study_view import StudyView
from tunefleet_master.services.planning.history_process import HistoryProcess, RequestHandler

TIME_LIMIT_S = 180.0
"""For one study; one with 200 parameters takes 15 s of CPU, and training on the same machine goes first."""

NICENESS = 10


class AnalysisFailed(TunefleetError):
    """What a study shows could not be worked out."""

    code = "analysis_failed"


@dataclass(frozen=True, slots=True)
class Question:
    """What does a study show?

    Attributes:
        study_id: one that was told of.
        spec: the study as it stands.
        n_more: how many trials are to come; None: there is no limit.
        reported: what its trials reported.
    """

    study_id: int
    spec: StudySpec
    n_more: int | None
    reported: Reported = field(default_factory=Reported)


class Analyst(HistoryProcess):
    """The process, asked what studies show.

    Args:
        time_limit_s: for one study.
    """

    def __init__(self, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        super().__init__(
            _Desk, name="tunefleet-analyst", role="The analysis", error=AnalysisFailed, time_limit_s=time_limit_s
        )

    def ask(self, question: Question) -> Insight:
        """What the study shows, of all that was told.

        Raises:
            AnalysisFailed: with the traceback as its hint.
        """
        return cast("Insight", self.call(question))


class _Desk(RequestHandler):
    """Computes on the histories of the process."""

    def __init__(self) -> None:
        super().__init__()
        os.nice(NICENESS)

    def answer(self, question: object) -> object:
        assert isinstance(question, Question)
        history = self.histories[question.study_id]
        return insight(StudyView(history, question.spec, question.n_more, question.reported))

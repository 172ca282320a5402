"""The process that analyses studies."""

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
"""For one study; 200 parameters take 15 s of CPU, and training on the same machine has priority."""

NICENESS = 10


class AnalysisFailed(TunefleetError):
    """The analysis of a study raised an error or exceeded its time limit."""

    code = "analysis_failed"


@dataclass(frozen=True, slots=True)
class AnalysisRequest:
    """A request to analyse a study.

    Attributes:
        study_id: of a study that the process has the history of.
        spec: the study's current one.
        n_more: the number of trials to come; None: unlimited.
        reported: the curves and metrics of its trials.
    """

    study_id: int
    spec: StudySpec
    n_more: int | None
    reported: Reported = field(default_factory=Reported)


class Analyst(HistoryProcess):
    """The process that answers requests to analyse studies.

    Args:
        time_limit_s: for one study.
    """

    def __init__(self, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        name, role = "tunefleet-analyst", "The analysis"
        super().__init__(_AnalysisHandler, name=name, role=role, error=AnalysisFailed, time_limit_s=time_limit_s)

    def ask(self, request: AnalysisRequest) -> Insight:
        """Return the insight into a study, on its history in the process.

        Raises:
            AnalysisFailed: the hint is the traceback.
        """
        return cast("Insight", self.call(request))


class _AnalysisHandler(RequestHandler):
    """Analyses the histories of the process."""

    def __init__(self) -> None:
        super().__init__()
        os.nice(NICENESS)

    def answer(self, request: object) -> object:
        assert isinstance(request, AnalysisRequest)
        history = self.histories[request.study_id]
        return insight(StudyView(history, request.spec, request.n_more, request.reported))

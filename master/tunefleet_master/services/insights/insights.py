"""Insights into studies, computed on demand in a separate process, and cached.

An analysis takes 1 s of CPU for a study with 10 parameters and 15 s with 200. So studies are analysed one at a time,
requests get the cached insight at once, and a running study is analysed again only after enough new results.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from tunefleet.errors import NotFound, TunefleetError
from tunefleet.protocol.findings import FindingView, GainView, ImportanceView, StudyFindings
from tunefleet.study.spec import StudySpec
from tunefleet.study.states import DONE, STUDY_OVER, UNFINISHED
from tunefleet_master.diagnosis.insight import Insight
from tunefleet_master.services.insights import diagnoses
from tunefleet_master.services.insights.analyst import AnalysisRequest, Analyst
from tunefleet_master.services.planning.history_sync import catch_up
from tunefleet_master.storage import studies
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.subscriptions import Subscriptions
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

MAX_CACHED = 200  # insights, of about ten kilobytes each

# A running study is analysed again when 10 % more trials have ended: the insight into 50 trials seldom differs from the
# one into 52. The process pauses four times as long as it worked, so page views take at most a fifth of a CPU.
GROWTH = 1.1
MIN_REST_S = 5.0
REST_FACTOR = 4.0
RETRY_AFTER_S = 60.0  # after a failure

IDLE_S = 300.0
"""An idle process, which takes 200 MB, ends after this time and starts again on the next request."""

NO_TRIALS = "No trial has ended yet, so there are no findings."
BUSY = "The analysis of the trials is running; ask again in a moment."

log = logging.getLogger(__name__)


def insight_of(study: str) -> str:
    """Return the topic that is published after an analysis of a study."""
    return f"insight:{study}"


@dataclass(frozen=True, slots=True)
class Basis:
    """The facts that an insight depends on, apart from the reports of trials.

    Attributes:
        n_ended: trials that have ended, without cancelled ones; configurations where the study has folds.
        spec: the study's spec with the chosen sampler, the current budget and the box of the current stage.
        n_more: the number of trials to come; None: unlimited.
    """

    n_ended: int
    spec: StudySpec
    n_more: int | None


@dataclass(frozen=True, slots=True)
class AnalysedStudy:
    """A study at the time of a request."""

    study: Study
    basis: Basis

    @property
    def is_over(self) -> bool:
        """Return whether no new results will come."""
        return self.study.state in STUDY_OVER


@dataclass(frozen=True, slots=True)
class CachedInsight:
    """The result of the last analysis of a study.

    Attributes:
        basis: the facts at the time of the analysis.
        event: the last event in the analysed history; 0: none.
        insight: the newest insight; None: no analysis has succeeded.
        failure: why the last analysis failed; empty: it succeeded.
        at_s: when the last analysis ended, by the clock of `Insights`.
        took_s: its duration.
    """

    basis: Basis
    event: int = 0
    insight: Insight | None = None
    failure: str = ""
    at_s: float = 0.0
    took_s: float = 0.0


def analysed_study(uow: UnitOfWork, name: str) -> AnalysedStudy:
    """Return the study of a request; raises NotFound."""
    study = studies.get(uow.connection, name)
    counts = studies.counts(uow.connection, [study.id])[study.id]
    n_ended = sum(counts.get(state, 0) for state in DONE)
    n_open = sum(counts.get(state, 0) for state in UNFINISHED)
    n_ended, n_open = n_ended // study.folds, -(-n_open // study.folds)  # configurations are compared
    n_to_create = 0 if study.exhausted else study.trials_left
    n_more = None if n_to_create is None else n_to_create + n_open
    search = study.spec.search.model_copy(update={"sampler": study.sampler})
    spec = study.searched.model_copy(update={"search": search, "budget": study.budget})
    found = AnalysedStudy(study, Basis(n_ended, spec, n_more))
    return replace(found, basis=replace(found.basis, n_more=0)) if found.is_over else found


def is_due(known: CachedInsight | None, asked: AnalysedStudy, *, now_s: float) -> bool:
    """Return whether an analysis of a study is due, given the cached one."""
    if known is None:
        return asked.basis.n_ended > 0
    rested_s = now_s - known.at_s
    if known.failure:
        return rested_s >= RETRY_AFTER_S
    if asked.basis == known.basis:
        return False
    if asked.is_over:
        return True
    if rested_s < max(MIN_REST_S, REST_FACTOR * known.took_s):
        return False
    is_edited = asked.basis.spec != known.basis.spec
    return is_edited or asked.basis.n_ended >= GROWTH * known.basis.n_ended


class Insights:
    """Insights into studies. `run` is the background task that computes them, on the same event loop.

    Args:
        database: the master's.
        subscriptions: publish `insight_of` a study after its analysis.
        clock: monotonic seconds.
        analyse: returns the last event in the analysed history and the insight; called on a thread.
        max_cached: studies in the cache; the least recently used one is evicted first.
    """

    def __init__(
        self,
        database: Database,
        subscriptions: Subscriptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        analyse: Callable[[AnalysedStudy], tuple[int, Insight]] | None = None,
        max_cached: int = MAX_CACHED,
    ) -> None:
        self._database = database
        self._subscriptions = subscriptions
        self._clock = clock
        self._analyst = Analyst()
        self._analyse = analyse or self._run_analysis
        self._analysis: asyncio.Future[tuple[int, Insight]] | None = None
        self._max_cached = max_cached
        self._cache: OrderedDict[int, CachedInsight] = OrderedDict()
        self._requested: OrderedDict[str, None] = OrderedDict()
        self._has_requests = asyncio.Event()

    async def of(self, name: str) -> StudyFindings:
        """Return the cached insight into a study at once, and request an analysis where one is due; raises NotFound."""
        asked = await self._database.aread(lambda uow: analysed_study(uow, name))
        known = self._cache.get(asked.study.id)
        if known is not None:
            self._cache.move_to_end(asked.study.id)
        if is_due(known, asked, now_s=self._clock()):
            self._requested.setdefault(name)
            self._has_requests.set()
        return answer(asked, known, renewing=name in self._requested)

    async def run(self) -> None:
        """Analyse the requested studies, one after the other, until cancelled.

        After its cancellation no thread of it reads the database.
        """
        self._analyst = Analyst()
        try:
            while True:
                await self._wait()
                name = next(iter(self._requested))
                try:
                    await self._update(name)
                finally:
                    del self._requested[name]
                    self._subscriptions.publish([insight_of(name)])
        finally:
            self._analyst.stop()
            if self._analysis is not None:
                await asyncio.gather(self._analysis, return_exceptions=True)
            self._analyst.close()  # the thread may have started the process just then

    async def _wait(self) -> None:
        """Wait for a request; end the process after IDLE_S without one."""
        if not self._requested:
            self._has_requests.clear()
            try:
                async with asyncio.timeout(IDLE_S):
                    await self._has_requests.wait()
            except TimeoutError:
                await asyncio.to_thread(self._analyst.close)
                await self._has_requests.wait()

    async def _update(self, name: str) -> None:
        try:
            asked = await self._database.aread(lambda uow: analysed_study(uow, name))
        except NotFound:  # deleted meanwhile
            return
        began_s = self._clock()
        try:
            self._analysis = asyncio.ensure_future(asyncio.to_thread(self._analyse, asked))
            event, found = await asyncio.shield(self._analysis)
            known = CachedInsight(asked.basis, event, found, at_s=self._clock(), took_s=self._clock() - began_s)
        except Exception as error:
            log.exception("the analysis of study %s failed", name)
            before = self._cache.get(asked.study.id) or CachedInsight(asked.basis)
            why = error.message if isinstance(error, TunefleetError) else f"{type(error).__name__}: {error}"
            known = replace(before, failure=why, at_s=self._clock())
        self._cache[asked.study.id] = known
        while len(self._cache) > self._max_cached:
            self._cache.popitem(last=False)

    def _run_analysis(self, asked: AnalysedStudy) -> tuple[int, Insight]:
        event = catch_up(self._analyst, asked.study, database=self._database)
        reported = self._database.read(lambda uow: diagnoses.of_study(uow, asked.study))
        return event, self._analyst.ask(AnalysisRequest(asked.study.id, asked.basis.spec, asked.basis.n_more, reported))


def answer(asked: AnalysedStudy, known: CachedInsight | None, *, renewing: bool) -> StudyFindings:
    """Return the cached insight as a message."""
    failures = [f"The newest trials are not analysed: {known.failure}"] if known and known.failure else []
    if known is None or known.insight is None:
        return StudyFindings(
            study=asked.study.name,
            n_newer=asked.basis.n_ended,
            renewing=renewing,
            unknown=failures or [BUSY if asked.basis.n_ended else NO_TRIALS],
        )
    found = known.insight
    return StudyFindings(
        study=asked.study.name,
        event=known.event,
        n_ended=known.basis.n_ended,
        n_newer=max(0, asked.basis.n_ended - known.basis.n_ended),
        renewing=renewing,
        findings=[FindingView(**asdict(finding)) for finding in found.findings],
        importance=None if found.importance is None else ImportanceView(**asdict(found.importance)),
        gain=None if found.expected_gain is None else GainView(**asdict(found.expected_gain)),
        unknown=[*found.unknown, *failures],
    )

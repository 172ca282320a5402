"""What studies show, worked out in a process of its own when somebody asks, and kept.

A study takes a second of CPU with 10 parameters and 15 with 200. So one study is worked out at a time; whoever asks is
given what is known; and a study that runs is not looked at again before it has something new to say.
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

MAX_KEPT = 200  # answers, of some ten kilobytes each

# A study that runs is worked out again when a tenth more trials have ended: what is said of 50 trials seldom differs
# from what is said of 52. And not before the process has rested four times as long as it worked, so that people who
# look at pages never take more than a fifth of a CPU.
GROWTH = 1.1
MIN_REST_S = 5.0
REST_FACTOR = 4.0
TRY_AGAIN_AFTER_S = 60.0
"""After a failure that nothing but luck will mend."""

IDLE_S = 300.0
"""After which the process is ended, with its 200 MB, until somebody asks again."""

NOTHING = "No trial has ended yet, so that nothing is known."
BUSY = "What the trials show is being worked out; ask again in a moment."

log = logging.getLogger(__name__)


def insight_of(study: str) -> str:
    """The topic of what a study shows."""
    return f"insight:{study}"


@dataclass(frozen=True, slots=True)
class Basis:
    """What an answer depends on, apart from what the trials reported.

    Attributes:
        n_ended: how many trials have ended; those that were cancelled count for nothing.
        spec: the study as it stands: with the sampler that was chosen, the budget as it was changed, and the box of
            its stage.
        n_more: how many trials are to come; None: there is no limit.
    """

    n_ended: int
    spec: StudySpec
    n_more: int | None


@dataclass(frozen=True, slots=True)
class Subject:
    """A study that is asked about."""

    study: Study
    basis: Basis

    @property
    def is_over(self) -> bool:
        """Whether it will say nothing new."""
        return self.study.state in STUDY_OVER


@dataclass(frozen=True, slots=True)
class Known:
    """What was found.

    Attributes:
        basis: that it was found on.
        event: the last one that was looked at; 0: none was.
        insight: None: it could not be worked out, and was not before.
        failure: why the last try failed; empty: it did not.
        at_s: when the last try ended, by the clock of `Insights`.
        took_s: how long it took to find.
    """

    basis: Basis
    event: int = 0
    insight: Insight | None = None
    failure: str = ""
    at_s: float = 0.0
    took_s: float = 0.0


def subject(uow: UnitOfWork, name: str) -> Subject:
    """A study as it is asked about; raises NotFound."""
    study = studies.get(uow.connection, name)
    counts = studies.counts(uow.connection, [study.id])[study.id]
    n_ended = sum(counts.get(state, 0) for state in DONE)
    n_open = sum(counts.get(state, 0) for state in UNFINISHED)
    n_ended, n_open = n_ended // study.folds, -(-n_open // study.folds)  # configurations are what is compared
    n_to_create = 0 if study.exhausted else study.trials_left
    n_more = None if n_to_create is None else n_to_create + n_open
    search = study.spec.search.model_copy(update={"sampler": study.sampler})
    spec = study.searched.model_copy(update={"search": search, "budget": study.budget})
    found = Subject(study, Basis(n_ended, spec, n_more))
    return replace(found, basis=replace(found.basis, n_more=0)) if found.is_over else found


def is_due(known: Known | None, asked: Subject, *, now_s: float) -> bool:
    """Whether a study is to be worked out again, or for the first time."""
    if known is None:
        return asked.basis.n_ended > 0
    rested_s = now_s - known.at_s
    if known.failure:
        return rested_s >= TRY_AGAIN_AFTER_S
    if asked.basis == known.basis:
        return False
    if asked.is_over:
        return True
    if rested_s < max(MIN_REST_S, REST_FACTOR * known.took_s):
        return False
    is_edited = asked.basis.spec != known.basis.spec
    return is_edited or asked.basis.n_ended >= GROWTH * known.basis.n_ended


class Insights:
    """Answers what studies show. `run` is the task that works it out; everything else stays on the same event loop.

    Args:
        database: the master's.
        subscriptions: `insight_of` a study is published when it was worked out.
        clock: monotonic seconds.
        analyse: gives the last event that was looked at and what the study shows; on a thread.
        max_kept: studies whose answers are kept; the one that was asked about the longest time ago is forgotten first.
    """

    def __init__(
        self,
        database: Database,
        subscriptions: Subscriptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        analyse: Callable[[Subject], tuple[int, Insight]] | None = None,
        max_kept: int = MAX_KEPT,
    ) -> None:
        self._database = database
        self._subscriptions = subscriptions
        self._clock = clock
        self._analyst = Analyst()
        self._analyse = analyse or self._ask
        self._thinking: asyncio.Future[tuple[int, Insight]] | None = None
        self._max_kept = max_kept
        self._known: OrderedDict[int, Known] = OrderedDict()
        self._wanted: OrderedDict[str, None] = OrderedDict()
        self._is_wanted = asyncio.Event()

    async def of(self, name: str) -> StudyFindings:
        """What is known of a study, at once; has it worked out where that is due. Raises NotFound."""
        asked = await self._database.aread(lambda uow: subject(uow, name))
        known = self._known.get(asked.study.id)
        if known is not None:
            self._known.move_to_end(asked.study.id)
        if is_due(known, asked, now_s=self._clock()):
            self._wanted.setdefault(name)
            self._is_wanted.set()
        return answer(asked, known, renewing=name in self._wanted)

    async def run(self) -> None:
        """Work out what is wanted, one study after the other; never returns.

        When it is cancelled, its thread has ended, and reads the database no more.
        """
        self._analyst = Analyst()
        try:
            while True:
                await self._wait()
                name = next(iter(self._wanted))
                try:
                    await self._work_out(name)
                finally:
                    del self._wanted[name]
                    self._subscriptions.publish([insight_of(name)])
        finally:
            self._analyst.stop()
            if self._thinking is not None:
                await asyncio.gather(self._thinking, return_exceptions=True)
            self._analyst.close()  # the thread may have started the process just then

    async def _wait(self) -> None:
        """Until something is wanted; the process is not kept for what may never come."""
        if not self._wanted:
            self._is_wanted.clear()
            try:
                async with asyncio.timeout(IDLE_S):
                    await self._is_wanted.wait()
            except TimeoutError:
                await asyncio.to_thread(self._analyst.close)
                await self._is_wanted.wait()

    async def _work_out(self, name: str) -> None:
        try:
            asked = await self._database.aread(lambda uow: subject(uow, name))
        except NotFound:  # deleted meanwhile
            return
        began_s = self._clock()
        try:
            self._thinking = asyncio.ensure_future(asyncio.to_thread(self._analyse, asked))
            event, found = await asyncio.shield(self._thinking)
            known = Known(asked.basis, event, found, at_s=self._clock(), took_s=self._clock() - began_s)
        except Exception as error:
            log.exception("what study %s shows could not be worked out", name)
            before = self._known.get(asked.study.id) or Known(asked.basis)
            why = error.message if isinstance(error, TunefleetError) else f"{type(error).__name__}: {error}"
            known = replace(before, failure=why, at_s=self._clock())
        self._known[asked.study.id] = known
        while len(self._known) > self._max_kept:
            self._known.popitem(last=False)

    def _ask(self, asked: Subject) -> tuple[int, Insight]:
        event = catch_up(self._analyst, asked.study, database=self._database)
        reported = self._database.read(lambda uow: diagnoses.of_study(uow, asked.study))
        return event, self._analyst.ask(AnalysisRequest(asked.study.id, asked.basis.spec, asked.basis.n_more, reported))


def answer(asked: Subject, known: Known | None, *, renewing: bool) -> StudyFindings:
    """What is known, as a message."""
    failures = [f"What the newest trials show is not known: {known.failure}"] if known and known.failure else []
    if known is None or known.insight is None:
        return StudyFindings(
            study=asked.study.name,
            n_newer=asked.basis.n_ended,
            renewing=renewing,
            unknown=failures or [BUSY if asked.basis.n_ended else NOTHING],
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
        gain=None if found.worth is None else GainView(**asdict(found.worth)),
        unknown=[*found.unknown, *failures],
    )

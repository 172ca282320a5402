"""Proposals on the newest results of a study, made in the samplers' process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tunefleet_master.search import registry
from tunefleet_master.search.history import Change, Edit, Prior
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.sampler import Suggestion
from tunefleet_master.services import histories
from tunefleet_master.services.proposer import TIME_LIMIT_S, Ask, Begin, Proposer, SamplerFailed, Tell
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

TOLD_AT_ONCE = 5_000  # changes in one message to the samplers' process

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Need:
    """How many trials a study lacks; `learns`: on the newest results."""

    study: Study
    n: int
    learns: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive proposals for a study, from `position` on.

    Attributes:
        position: of the first.
        version: of the study's space that they lie in.
        proposals: None where there is no configuration.
        exhausted: whether there are no more.
        sampler: who proposed.
        sampler_version: of its code.
        saw: the study's last event that it knew of; None: it does not learn.
        failure: why the study's own sampler did not propose; None: it did.
    """

    position: int
    version: int
    proposals: Sequence[Suggestion | None]
    exhausted: bool
    sampler: str
    sampler_version: int
    saw: int | None = None
    failure: SamplerFailed | None = None


class NewestResults:
    """Asks samplers that learn, after telling them what has happened since they were asked before.

    Args:
        database: the master's.
        time_limit_s: after which a sampler's process is ended, and random configurations stand in.
    """

    def __init__(self, database: Database, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._database = database
        self._proposer = Proposer(time_limit_s=time_limit_s)

    def propose(self, need: Need) -> Batch:
        """What the study's sampler proposes now; random configurations, and why, when it fails.

        A population waits until its sampler is asked again.
        """
        study = need.study
        kind = registry.SAMPLERS[study.sampler]
        try:
            saw = self._database.read(lambda uow: self._tell(uow, study))
            suggested = self._proposer.ask(Ask(study.id, study.position, need.n))
        except SamplerFailed as failure:
            log.warning("study %s: %s\n%s", study.name, failure.message, failure.hint or "")
            stand_in = RandomSampler.of(study.searched)
            found: Sequence[Suggestion | None] = ()
            if not kind.trains_population:  # of which a random configuration is no member
                found = stand_in.suggest(study.position, need.n, history=histories.empty(study.spec)).found
            return Batch(study.position, study.version, found, False, stand_in.name, stand_in.version, failure=failure)
        found, is_last = suggested.found, suggested.is_last
        return Batch(study.position, study.version, found, is_last, kind.name, kind.version, saw)

    def close(self) -> None:
        """End the samplers' process."""
        self._proposer.close()

    def _tell(self, uow: UnitOfWork, study: Study) -> int:
        """Tell the process what has happened in the study since it was last told; the last event."""
        seen = self._proposer.seen(study.id)
        if seen == 0:
            first = histories.first_spec(uow.connection, study)
            self._proposer.begin(Begin(study.id, study.sampler, first))
        news: list[Change | Edit | Prior] = []
        for event_id, change in histories.changes(uow.connection, study.id, after=seen):
            seen = event_id
            news.append(change)
            if len(news) == TOLD_AT_ONCE:
                self._proposer.tell(Tell(study.id, news), up_to=seen)
                news = []
        self._proposer.tell(Tell(study.id, news), up_to=seen)
        return seen

"""The planner: it keeps every running study supplied with waiting trials, off the request path.

Samplers whose proposals do not depend on results fill a queue in advance. The others propose on the newest results,
when a worker asks for a trial and finds none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from tunefleet.errors import StorageUnusable
from tunefleet.protocol import StudyState
from tunefleet_master.search import registry
from tunefleet_master.search.sampler import Sampler
from tunefleet_master.services.execution import retention
from tunefleet_master.services.execution.early_stopping import RungTables
from tunefleet_master.services.execution.transitions import complete_if_done
from tunefleet_master.services.planning import histories, promotion, racing, stages
from tunefleet_master.services.planning.creation import Proposal, create_proposed
from tunefleet_master.services.planning.pending_work import pending_work
from tunefleet_master.services.planning.racing import Races
from tunefleet_master.services.planning.sampling import Batch, LearningProposer, Need
from tunefleet_master.storage import studies
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.locks import StudyLocks
from tunefleet_master.storage.subscriptions import CLAIMS, PLANNER, Subscriptions, events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

log = logging.getLogger(__name__)

Observe = Callable[[str, float], None]
"""Called with a sampler's name and the seconds that it took to propose."""

# Proposals in a row that are known or break a constraint, after which the space counts as exhausted. A learning sampler
# tries dozens of points before it gives up one proposal.
MAX_MISSES = 10_000
MAX_LEARNER_MISSES = 20
MAX_SAMPLERS = 1_000  # cached, since a grid continues where it is; finished studies leave theirs in the cache
POLL_S = 5.0

FALLBACK = "study.fallback"
"""The kind of event that records that a sampler failed and random configurations replace its proposals."""


def propose(sampler: Sampler, need: Need) -> Batch:
    """Return the proposals of a sampler that does not learn. Pure."""
    position = need.study.position
    suggested = sampler.suggest(position, need.n, history=histories.empty(need.study.spec))
    found, is_last = suggested.found, suggested.is_last
    return Batch(position, need.study.version, found, is_last, sampler.name, sampler.version)


def add_batch(uow: UnitOfWork, study_id: int, batch: Batch) -> int:
    """Create trials for the proposals of a batch within the budget, none twice; return how many were created.

    A batch is discarded when the study's position has changed since it was drawn (another planner was first), or the
    version of its space.
    """
    study = studies.lock(uow.connection, study_id)
    is_stale = (study.position, study.version) != (batch.position, batch.version)
    if is_stale or study.state is not StudyState.RUNNING:
        return 0
    proposals = _proposals(batch)
    if batch.failure is not None and batch.proposals:
        data = {"message": batch.failure.message, "traceback": batch.failure.hint or "", "position": batch.position}
        uow.record(study.id, FALLBACK, trial=None, data=data)
        uow.notify_after_commit(events_of(study.name))
    n_created, left_at = create_proposed(uow, study, proposals) if proposals else (0, None)
    exhausted = batch.exhausted and left_at is None
    position = batch.position + len(batch.proposals) if left_at is None else left_at
    studies.set_position(uow.connection, study.id, position=position, exhausted=exhausted)
    if n_created:
        uow.notify_after_commit(CLAIMS)
    if study.sampler in registry.populations():
        retention.drop_checkpoints(uow, study)
    if exhausted:
        complete_if_done(uow, studies.by_id(uow.connection, study.id))
    return n_created


def _proposals(batch: Batch) -> list[Proposal]:
    return [
        Proposal(
            batch.position + i,
            suggestion.params,
            sampler=batch.sampler,
            sampler_version=batch.sampler_version,
            batch=batch.position,
            saw=batch.saw,
            segment=suggestion.segment,
        )
        for i, suggestion in enumerate(batch.proposals)
        if suggestion
    ]


@dataclass(frozen=True, slots=True)
class StudyFolds:
    """The states of studies that the planner folds from their events."""

    rung_tables: RungTables
    races: Races


class Planner:
    """A background task that serves studies on each notification, and every POLL_S seconds in any case.

    Args:
        database: the master's.
        subscriptions: publish PLANNER when a study may need work.
        locks: on the studies that this master plans; closed when `run` ends.
        proposer: asks the samplers that learn; closed when `run` ends.
        folds: used by this planner only.
        observe: gets the duration of each proposal.
    """

    def __init__(
        self,
        database: Database,
        subscriptions: Subscriptions,
        *,
        locks: StudyLocks,
        proposer: LearningProposer,
        folds: StudyFolds,
        observe: Observe = lambda sampler, took_s: None,
    ) -> None:
        self._database = database
        self._subscriptions = subscriptions
        self._locks = locks
        self._proposer = proposer
        self._folds = folds
        self._observe = observe
        self._samplers: dict[tuple[int, int], Sampler] = {}
        self._misses: dict[int, int] = {}

    async def run(self) -> None:
        """Plan until cancelled; an error is logged, and the work is tried again."""
        with self._subscriptions.subscribe(PLANNER) as subscription, closing(self._locks), closing(self._proposer):
            while True:
                try:
                    while await self._plan():
                        pass
                except Exception:
                    log.exception("planning failed; trying again")
                await subscription.wait(POLL_S)

    async def _plan(self) -> bool:
        """Do the pending work once; return whether more may be pending.

        Studies that another master plans are left to it until it releases their locks.
        """
        work = await self._database.aread(pending_work)
        moved = [await self._try(study, self._promote(study)) for study in work.paused]
        moved += [await self._try(study, self._race(study)) for study in work.racing]
        moved += [await self._try(study, self._begin_stage(study)) for study in work.due]
        if any(moved):
            return True  # the needs of studies may have changed
        mine = await asyncio.to_thread(self._locks.hold, {need.study.id for need in work.needs})
        needs = [need for need in work.needs if need.study.id in mine]
        # Queues come first: they take no time, and a fit may.
        in_order = sorted(needs, key=lambda need: need.learns)
        return any([await self._try(need.study, self._serve(need)) for need in in_order])

    @staticmethod
    async def _try(study: Study, step: Awaitable[bool]) -> bool:
        """Return whether a step changed the study; an error is logged, so that other studies are still served."""
        try:
            return await step
        except StorageUnusable:
            raise
        except Exception:
            log.exception("study %s cannot be planned; trying again in a while", study.name)
            return False

    async def _promote(self, study: Study) -> bool:
        """Promote without a lock: of two masters at once, the second one finds that the trials are no longer paused."""
        found = await self._database.aread(lambda uow: promotion.decided(uow, study, self._folds.rung_tables))
        for decision in found:
            await self._database.awrite(partial(promotion.carry_out, promotion=decision))
        return bool(found)

    async def _race(self, study: Study) -> bool:
        """Race without a lock: of two masters at once, the second one finds that nothing is left to end."""
        found = await self._database.aread(lambda uow: self._folds.races.eliminations(uow, study))
        ended = [await self._database.awrite(partial(racing.eliminate, study=study, elimination=it)) for it in found]
        return any(ended)

    async def _begin_stage(self, study: Study) -> bool:
        """Begin a stage without a lock: of two masters at once, the second one finds that the study has changed."""
        following = await self._database.aread(lambda uow: stages.plan(uow, study))
        return await self._database.awrite(partial(stages.begin, following=following))

    async def _serve(self, need: Need) -> bool:
        """Create the trials that a study lacks; return whether its sampler gave proposals."""
        batch = await asyncio.to_thread(self._propose, need)
        n_created = await self._database.awrite(partial(add_batch, study_id=need.study.id, batch=batch))
        self._misses[need.study.id] = 0 if n_created else self._misses.get(need.study.id, 0) + len(batch.proposals)
        return bool(batch.proposals)

    def _propose(self, need: Need) -> Batch:
        began = time.perf_counter()
        batch = self._proposer.propose(need) if need.learns else propose(self._sampler(need.study), need)
        self._observe(need.study.sampler, time.perf_counter() - began)
        return self._exhausted_after_misses(need, batch)

    def _sampler(self, study: Study) -> Sampler:
        key = study.id, study.version
        if key not in self._samplers:
            if len(self._samplers) >= MAX_SAMPLERS:
                self._samplers.clear()
            self._samplers[key] = registry.build(study.sampler, study.searched)
        return self._samplers[key]

    def _exhausted_after_misses(self, need: Need, batch: Batch) -> Batch:
        """Mark the space as exhausted when the sampler has given nothing new for long."""
        limit = MAX_LEARNER_MISSES if need.learns else MAX_MISSES
        return batch if self._misses.get(need.study.id, 0) < limit else replace(batch, exhausted=True)

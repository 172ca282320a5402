"""Keeping each running study supplied with waiting trials, off the request path.

Samplers whose proposals do not depend on results fill a queue ahead. The others propose when a worker asks for a trial
and finds none, on the newest results.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from tunefleet.errors import StorageUnusable
from tunefleet.protocol import StudyState
from tunefleet_master.search import registry
from tunefleet_master.search.sampler import Sampler
from tunefleet_master.services.execution import retention
from tunefleet_master.services.execution.claims import may_have
from tunefleet_master.services.execution.early_stopping import RungTables
from tunefleet_master.services.execution.transitions import complete_if_done, out_of_time
from tunefleet_master.services.planning import histories, promotion, racing, stages
from tunefleet_master.services.planning.creation import Proposal, create_proposed
from tunefleet_master.services.planning.sampling import Batch, Need, NewestResults
from tunefleet_master.storage import studies, trials, workers
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.locks import StudyLocks
from tunefleet_master.storage.subscriptions import CLAIMS, PLANNER, Subscriptions, events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

log = logging.getLogger(__name__)

Observe = Callable[[str, float], None]
"""Is told a sampler's name, and how many seconds it took to propose."""

# Trials kept waiting: a fleet of this size never waits for the planner, and a stopped study has wasted little. The
# queue is filled up to the larger number when it has fallen below the smaller one, a batch at a time.
MIN_QUEUE = 32
FULL_QUEUE = 64
# Proposals in a row that are known or break a constraint, after which the space counts as used up. One that learns has
# tried dozens of points in the place of each.
MAX_MISSES = 10_000
MAX_LEARNER_MISSES = 20
MAX_SAMPLERS = 1_000  # kept between calls, since a grid walks on from where it is; a study that ended leaves one behind
MAX_ASKED = 256  # proposals of a learner in one call: more workers than that are served in turns
LOOK_EVERY_S = 5.0

FALLBACK = "study.fallback"
"""The event that says that the study's sampler failed, and random configurations stand in for its proposals."""


def needs(uow: UnitOfWork) -> list[Need]:
    """The running studies that lack trials, the first to be served first."""
    return _lacking(uow, _served(uow, studies.running(uow.connection)))


def _lacking(uow: UnitOfWork, served: Sequence[Study]) -> list[Need]:
    running = [study for study in served if study.stage_left != 0]
    found = [need for study in running if study.sampler not in registry.learners() if (need := _ahead(uow, study))]
    learners = [study for study in running if study.sampler in registry.learners()]
    if learners:
        found += _asked_for(uow, learners, among=len(running))
    return found


@dataclass(frozen=True, slots=True)
class Agenda:
    """What there is to do.

    Attributes:
        paused: studies with trials that wait for their promotion.
        racing: studies that race their configurations over folds.
        due: studies whose next stage begins now.
        needs: what studies lack.
    """

    paused: Sequence[Study]
    racing: Sequence[Study]
    due: Sequence[Study]
    needs: Sequence[Need]


def agenda(uow: UnitOfWork) -> Agenda:
    """What there is to do, in one reading."""
    running = studies.running(uow.connection)
    served = _served(uow, running)
    return Agenda(
        paused=[study for study in running if promotion.has_paused(uow, study)],
        racing=[study for study in running if racing.is_raced(study)],
        due=[study for study in served if stages.is_due(uow, study)],
        needs=_lacking(uow, served),
    )


def _served(uow: UnitOfWork, running: Sequence[Study]) -> list[Study]:
    return [it for it in running if it.is_checked and not it.exhausted and not out_of_time(uow, it)]


def _ahead(uow: UnitOfWork, study: Study) -> Need | None:
    """What a queue that is filled ahead lacks."""
    n_waiting = trials.n_waiting(uow.connection, study.id, at_most=MIN_QUEUE)
    n = _at_most(study, FULL_QUEUE - n_waiting if n_waiting < MIN_QUEUE else 0)
    return Need(study, n) if n > 0 else None


def _at_most(study: Study, n_trials: int) -> int:
    """As many configurations as so many trials are, and the budget and the stage have left."""
    n = -(-n_trials // study.folds)
    return min([n, *(left for left in (study.trials_left, study.stage_left) if left is not None)])


def _asked_for(uow: UnitOfWork, learners: Sequence[Study], *, among: int) -> list[Need]:
    """What workers wait for, shared among the studies that learn as claims share them out.

    A study has its first trial waiting, so that the samplers' process has started when somebody asks. Beside other
    studies a learner always has one: without any it would never have its turn. A population of which none runs is
    asked, too: it may be done.
    """
    n_waiting = {study.id: trials.n_waiting(uow.connection, study.id, at_most=MAX_ASKED) for study in learners}
    n_running = Counter(studies.n_running(uow.connection, [study.id for study in learners]))
    wanted = _shared(learners, workers.asking(uow.connection, now=uow.now), n_running)
    found = []
    for study in learners:
        is_idle = study.sampler in registry.populations() and not n_running[study.id]
        n = max(wanted[study.id], int(among > 1 or study.position == 0 or is_idle)) - n_waiting[study.id]
        n = _at_most(study, min(n, MAX_ASKED))
        if n > 0:
            found.append(Need(study, n, learns=True))
    return found


def _shared(
    learners: Sequence[Study], asking: Sequence[workers.Waiting], n_running: Mapping[int, int]
) -> Mapping[int, int]:
    """How many of the slots that wait fall to each study: the higher priority first, then the fewest running."""
    wanted: Counter[int] = Counter()
    for waiting in asking:
        eligible = [study for study in learners if may_have(study, waiting.facts, wanted=waiting.study)]
        for _ in range(waiting.slots if eligible else 0):
            turn = min(eligible, key=lambda study: (-study.priority, n_running[study.id] + wanted[study.id], study.id))
            wanted[turn.id] += 1
    return wanted


def propose(sampler: Sampler, need: Need) -> Batch:
    """Ask a sampler that does not learn for what the queue lacks; pure."""
    position = need.study.position
    suggested = sampler.suggest(position, need.n, history=histories.empty(need.study.spec))
    found, is_last = suggested.found, suggested.is_last
    return Batch(position, need.study.version, found, is_last, sampler.name, sampler.version)


def enqueue(uow: UnitOfWork, study_id: int, batch: Batch) -> int:
    """Add proposals to the queue, each taken from the budget, none twice; returns how many were added.

    A batch that was drawn from another position than the study's (another planner came first), or from another version
    of its space, is dropped.
    """
    study = studies.lock(uow.connection, study_id)
    is_stale = (study.position, study.version) != (batch.position, batch.version)
    if is_stale or study.state is not StudyState.RUNNING:
        return 0
    proposals = [
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
    if batch.failure is not None and batch.proposals:  # that stand in
        data = {"message": batch.failure.message, "traceback": batch.failure.hint or "", "position": batch.position}
        uow.record(study.id, FALLBACK, trial=None, data=data)
        uow.notify_after_commit(events_of(study.name))
    added, left_at = create_proposed(uow, study, proposals) if proposals else (0, None)
    exhausted = batch.exhausted and left_at is None
    position = batch.position + len(batch.proposals) if left_at is None else left_at
    studies.set_position(uow.connection, study.id, position=position, exhausted=exhausted)
    if added:
        uow.notify_after_commit(CLAIMS)
    if study.sampler in registry.populations():
        retention.drop_checkpoints(uow, study)
    if exhausted:
        complete_if_done(uow, studies.by_id(uow.connection, study.id))
    return added


class Planner:
    """Supplies studies whenever a bell says that one may lack trials, and every few seconds in any case."""

    def __init__(
        self, database: Database, subscriptions: Subscriptions, *, observe: Observe = lambda sampler, took_s: None
    ) -> None:
        self._database = database
        self._wakeups = subscriptions
        self._observe = observe
        self._locks = StudyLocks(database.engine)
        self._newest = NewestResults(database)
        self._tables = RungTables()
        self._races = racing.Races()
        self._samplers: dict[tuple[int, int], Sampler] = {}
        self._misses: dict[int, int] = {}

    async def run(self) -> None:
        """Never returns; a failure is logged and tried again."""
        with self._wakeups.subscribe(PLANNER) as subscription, closing(self._locks), closing(self._newest):
            while True:
                try:
                    while await self._fill():
                        pass
                except Exception:
                    log.exception("planning failed; trying again")
                await subscription.wait(LOOK_EVERY_S)

    async def _fill(self) -> bool:
        """Serve each study that lacks trials, and that no other master plans, once; whether some may lack trials still.

        What another master plans is looked at again when that one has left.
        """
        todo = await self._database.aread(agenda)
        moved = [await self._tried(study, self._promote(study)) for study in todo.paused]
        moved += [await self._tried(study, self._race(study)) for study in todo.racing]
        moved += [await self._tried(study, self._begin_stage(study)) for study in todo.due]
        if any(moved):
            return True  # what studies lack is another thing now
        mine = await asyncio.to_thread(self._locks.hold, {need.study.id for need in todo.needs})
        lacking = [need for need in todo.needs if need.study.id in mine]
        # Queues first: they take no time, and a fit may.
        in_order = sorted(lacking, key=lambda need: need.learns)
        return any([await self._tried(need.study, self._serve(need)) for need in in_order])

    @staticmethod
    async def _tried(study: Study, move: Awaitable[bool]) -> bool:
        """Whether the study was moved on; False when that failed, which must not keep the others waiting."""
        try:
            return await move
        except StorageUnusable:
            raise
        except Exception:
            log.exception("study %s cannot be planned; trying again in a while", study.name)
            return False

    async def _promote(self, study: Study) -> bool:
        """Any master may: of two that come to it at once, one finds that the trials are paused no more."""
        found = await self._database.aread(lambda uow: promotion.decided(uow, study, self._tables))
        for decision in found:
            await self._database.awrite(partial(promotion.carry_out, promotion=decision))
        return bool(found)

    async def _race(self, study: Study) -> bool:
        """Any master may: of two that come to it at once, one finds that nothing is left to end."""
        losers = await self._database.aread(lambda uow: self._races.losers(uow, study))
        ended = [await self._database.awrite(partial(racing.retire, study=study, loser=loser)) for loser in losers]
        return any(ended)

    async def _begin_stage(self, study: Study) -> bool:
        """Any master may: of two that come to it at once, one finds that the study has moved on."""
        following = await self._database.aread(lambda uow: stages.plan(uow, study))
        return await self._database.awrite(partial(stages.begin, following=following))

    async def _serve(self, need: Need) -> bool:
        """Supply one study; False when it got nothing now."""
        batch = await asyncio.to_thread(self._propose, need)
        added = await self._database.awrite(partial(enqueue, study_id=need.study.id, batch=batch))
        self._misses[need.study.id] = 0 if added else self._misses.get(need.study.id, 0) + len(batch.proposals)
        return bool(batch.proposals)

    def _propose(self, need: Need) -> Batch:
        began = time.perf_counter()
        batch = self._newest.propose(need) if need.learns else propose(self._sampler(need.study), need)
        self._observe(need.study.sampler, time.perf_counter() - began)
        return self._give_up(need, batch)

    def _sampler(self, study: Study) -> Sampler:
        key = study.id, study.version
        if key not in self._samplers:
            if len(self._samplers) >= MAX_SAMPLERS:
                self._samplers.clear()
            self._samplers[key] = registry.build(study.sampler, study.searched)
        return self._samplers[key]

    def _give_up(self, need: Need, batch: Batch) -> Batch:
        """Call the space used up when the sampler has long given nothing new."""
        most = MAX_LEARNER_MISSES if need.learns else MAX_MISSES
        return batch if self._misses.get(need.study.id, 0) < most else replace(batch, exhausted=True)

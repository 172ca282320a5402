"""Keeping each running study's queue of waiting trials filled, off the request path."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from tunefleet.errors import StorageUnusable
from tunefleet.protocol import StudyState
from tunefleet.space import Configuration
from tunefleet_master.search import registry
from tunefleet_master.search.sampler import Sampler
from tunefleet_master.services.creation import Proposal, create_proposed
from tunefleet_master.services.transitions import (
    complete_if_done,
    out_of_time,
)
from tunefleet_master.services.wakeups import CLAIMS, PLANNER, Wakeups
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.locks import StudyLocks
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

log = logging.getLogger(__name__)

Observe = Callable[[str, float], None]
"""Is told a sampler's name, and how many seconds it took to propose."""

# Trials kept waiting: a fleet of this size never waits for the planner, and a stopped study has wasted little. The
# queue is filled up to the larger number when it has fallen below the smaller one, a batch at a time.
MIN_QUEUE = 32
FULL_QUEUE = 64
MAX_MISSES = 10_000  # proposals in a row that are known or break a constraint, after which the space counts as used up
MAX_SAMPLERS = 1_000  # kept between calls, since a grid walks on from where it is; a study that ended leaves one behind
LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Need:
    """How many trials a study's queue lacks."""

    study: Study
    n: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive proposals of a study's sampler, from `position` on."""

    position: int
    proposals: Sequence[Configuration | None]
    exhausted: bool


def needs(uow: UnitOfWork) -> list[Need]:
    """The running studies whose queues are not full, the first to be served first."""
    found = []
    for study in studies.running(uow.connection):
        if study.exhausted or out_of_time(uow, study):
            continue
        n_waiting = trials.n_waiting(uow.connection, study.id, at_most=MIN_QUEUE)
        lacking = FULL_QUEUE - n_waiting if n_waiting < MIN_QUEUE else 0
        n = lacking if study.trials_left is None else min(lacking, study.trials_left)
        if n > 0:
            found.append(Need(study, n))
    return found


def propose(sampler: Sampler, need: Need) -> Batch:
    """Ask the sampler for what the queue lacks; pure."""
    proposals = sampler.propose(need.study.position, need.n)
    return Batch(need.study.position, proposals, exhausted=len(proposals) < need.n)


def enqueue(uow: UnitOfWork, study_id: int, batch: Batch) -> int:
    """Add proposals to the queue, each taken from the budget, none twice; returns how many were added.

    A batch that was drawn from another position than the study's (another planner came first) is dropped.
    """
    study = studies.lock(uow.connection, study_id)
    if study.position != batch.position or study.state is not StudyState.RUNNING:
        return 0
    proposals = [Proposal(batch.position + i, params) for i, params in enumerate(batch.proposals) if params]
    added = create_proposed(uow, study, proposals) if proposals else 0
    position = batch.position + len(batch.proposals)
    studies.set_position(uow.connection, study.id, position=position, exhausted=batch.exhausted)
    if added:
        uow.signal(CLAIMS)
    if batch.exhausted:
        complete_if_done(uow, studies.by_id(uow.connection, study.id))
    return added


class Planner:
    """Fills queues whenever a bell says that one may lack trials, and every few seconds in any case."""

    def __init__(
        self, database: Database, wakeups: Wakeups, *, observe: Observe = lambda sampler, took_s: None
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._observe = observe
        self._locks = StudyLocks(database.engine)
        self._samplers: dict[int, Sampler] = {}
        self._misses: dict[int, int] = {}

    async def run(self) -> None:
        """Never returns; a failure is logged and tried again."""
        with self._wakeups.listen(PLANNER) as bell, closing(self._locks):
            while True:
                try:
                    while await self._fill():
                        pass
                except Exception:
                    log.exception("planning failed; trying again")
                await bell.wait(LOOK_EVERY_S)

    async def _fill(self) -> bool:
        """Serve each study that lacks trials, and that no other master plans, once; whether some may lack trials still.

        What another master plans is looked at again when that one has left.
        """
        lacking = await self._database.aread(needs)
        mine = await asyncio.to_thread(self._locks.hold, {need.study.id for need in lacking})
        lacking = [need for need in lacking if need.study.id in mine]
        served = [await self._serve(need) for need in lacking]
        return any(served)

    async def _serve(self, need: Need) -> bool:
        """Fill one study's queue; False when that failed, which must not keep the others waiting."""
        try:
            batch = await asyncio.to_thread(self._propose, need)
            added = await self._database.awrite(partial(enqueue, study_id=need.study.id, batch=batch))
        except StorageUnusable:
            raise
        except Exception:
            log.exception("study %s cannot be planned; trying again in a while", need.study.name)
            return False
        self._misses[need.study.id] = 0 if added else self._misses.get(need.study.id, 0) + len(batch.proposals)
        return True

    def _propose(self, need: Need) -> Batch:
        began = time.perf_counter()
        batch = propose(self._sampler(need.study), need)
        self._observe(need.study.sampler, time.perf_counter() - began)
        return self._give_up(need, batch)

    def _sampler(self, study: Study) -> Sampler:
        if study.id not in self._samplers:
            if len(self._samplers) >= MAX_SAMPLERS:
                self._samplers.clear()
            self._samplers[study.id] = registry.build(study.sampler, study.spec)
        return self._samplers[study.id]

    def _give_up(self, need: Need, batch: Batch) -> Batch:
        """Call the space used up when the sampler has long given nothing new."""
        if self._misses.get(need.study.id, 0) < MAX_MISSES:
            return batch
        return Batch(batch.position, batch.proposals, exhausted=True)

"""The planner's pending work: studies that lack trials, and trials and stages that are due to move on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunefleet_master.search import registry
from tunefleet_master.services.execution.eligibility import Offer, may_take
from tunefleet_master.services.execution.fair_share import next_in_turn
from tunefleet_master.services.execution.transitions import out_of_time
from tunefleet_master.services.planning import promotion, racing, stages
from tunefleet_master.services.planning.sampling import Need
from tunefleet_master.storage import studies, trials, workers
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

# Waiting trials per study: a fleet of MIN_QUEUE workers never waits for the planner, and a study that is stopped wastes
# little. A queue that falls below MIN_QUEUE is filled up to MAX_QUEUE in one batch.
MIN_QUEUE = 32
MAX_QUEUE = 64
MAX_PROPOSALS = 256
"""Proposals of a learning sampler in one call; a larger fleet gets them in several calls."""


@dataclass(frozen=True, slots=True)
class PendingWork:
    """The work that is due now.

    Attributes:
        paused: studies with paused trials that a promotion may resume.
        racing: studies that race their configurations over folds.
        due: studies that begin their next stage.
        needs: the trials that studies lack.
    """

    paused: Sequence[Study]
    racing: Sequence[Study]
    due: Sequence[Study]
    needs: Sequence[Need]


def pending_work(uow: UnitOfWork) -> PendingWork:
    """Return all pending work."""
    running = studies.running(uow.connection)
    plannable = _plannable(uow, running)
    return PendingWork(
        paused=[study for study in running if promotion.has_paused(uow, study)],
        racing=[study for study in running if racing.is_raced(study)],
        due=[study for study in plannable if stages.is_due(uow, study)],
        needs=_needs(uow, plannable),
    )


def needs(uow: UnitOfWork) -> list[Need]:
    """Return the trials that running studies lack, in the order to serve them."""
    return _needs(uow, _plannable(uow, studies.running(uow.connection)))


def _plannable(uow: UnitOfWork, running: Sequence[Study]) -> list[Study]:
    return [it for it in running if it.is_checked and not it.exhausted and not out_of_time(uow, it)]


def _needs(uow: UnitOfWork, plannable: Sequence[Study]) -> list[Need]:
    running = [study for study in plannable if study.stage_left != 0]
    learns = registry.learners()
    found = [need for study in running if study.sampler not in learns if (need := _queue_need(uow, study))]
    learners = [study for study in running if study.sampler in learns]
    if learners:
        found += _learner_needs(uow, learners, n_studies=len(running))
    return found


def _queue_need(uow: UnitOfWork, study: Study) -> Need | None:
    """Return what the queue of a study lacks when its sampler does not learn."""
    n_waiting = trials.n_waiting(uow.connection, study.id, at_most=MIN_QUEUE)
    n = _within_budget(study, MAX_QUEUE - n_waiting if n_waiting < MIN_QUEUE else 0)
    return Need(study, n) if n > 0 else None


def _within_budget(study: Study, n_trials: int) -> int:
    """Return the number of configurations for this many trials, as far as the budget and the stage allow."""
    n = -(-n_trials // study.folds)
    return min([n, *(left for left in (study.trials_left, study.stage_left) if left is not None)])


def _learner_needs(uow: UnitOfWork, learners: Sequence[Study], *, n_studies: int) -> list[Need]:
    """Return the trials that idle workers ask for, shared among the learning studies as claims would share them.

    The first trial of a study is proposed in advance, which also starts the sampler process. Among several studies a
    learner always has one waiting trial: without it, the study would never get its turn. A population without running
    trials is asked, too: it may be finished.
    """
    n_waiting = {study.id: trials.n_waiting(uow.connection, study.id, at_most=MAX_PROPOSALS) for study in learners}
    n_running = Counter(studies.n_running(uow.connection, [study.id for study in learners]))
    wanted = _share_slots(learners, workers.asking(uow.connection, now=uow.now), n_running)
    found = []
    for study in learners:
        is_idle = study.sampler in registry.populations() and not n_running[study.id]
        n = max(wanted[study.id], int(n_studies > 1 or study.position == 0 or is_idle)) - n_waiting[study.id]
        n = _within_budget(study, min(n, MAX_PROPOSALS))
        if n > 0:
            found.append(Need(study, n, learns=True))
    return found


def _share_slots(
    learners: Sequence[Study], asking: Sequence[workers.Waiting], n_running: Mapping[int, int]
) -> Mapping[int, int]:
    """Return how many of the idle slots each study gets, by its id."""
    wanted: Counter[int] = Counter()
    n_planned = Counter(n_running)
    for waiting in asking:
        offer = Offer.of(waiting.facts, study=waiting.study)
        eligible = [study for study in learners if may_take(study, offer)]
        for _ in range(waiting.slots if eligible else 0):
            study_id = next_in_turn(eligible, n_planned).id
            n_planned[study_id] += 1
            wanted[study_id] += 1
    return wanted

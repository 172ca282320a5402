"""Letting paused trials go on that are among the best by now, and ending those that never will be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from tunefleet.protocol import TrialState
from tunefleet.study.stages import ends, stage_of
from tunefleet_master.services.execution.early_stopping import RungTables, pruner_of
from tunefleet_master.services.execution.transitions import announce, complete_if_done, out_of_time
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.subscriptions import CLAIMS
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

MAX_AT_ONCE = 256
"""Trials in one transaction; the others follow in the next."""

PROMOTED = "promoted: it is among the best that have come as far"
LEFT_BEHIND = "it was never among the best that have come as far, and no more trials come"


@dataclass(frozen=True, slots=True)
class Promotion:
    """What becomes of paused trials of a study; decided without locking it.

    Attributes:
        study: theirs.
        numbers: of the trials.
        go_on: whether they wait for a worker again; else they end.
    """

    study: Study
    numbers: Sequence[int]
    go_on: bool


def has_paused(uow: UnitOfWork, study: Study) -> bool:
    """Whether something may be decided of the study."""
    return study.spec.pruning.mode == "promote" and bool(trials.paused(uow.connection, study.id))


def decided(uow: UnitOfWork, study: Study, tables: RungTables) -> list[Promotion]:
    """What becomes of a study's paused trials, on all that is committed; empty while they wait."""
    by_stage: dict[int, list[int]] = defaultdict(list)
    for number in trials.paused(uow.connection, study.id):
        by_stage[stage_of(study.spec, number)].append(number)
    found = (
        _of_stage(uow, study, paused, tables=tables, no_more=_no_more(uow, study, stage))
        for stage, paused in by_stage.items()
    )
    return [promotion for promotion in found if promotion is not None]


def carry_out(uow: UnitOfWork, promotion: Promotion) -> None:
    """Promote or end the trials, as far as they are paused still."""
    study = promotion.study
    if promotion.go_on:
        for trial in trials.promote(uow.connection, study, promotion.numbers, now=uow.now):
            announce(uow, study, trial, state=TrialState.WAITING, message=PROMOTED)
        uow.notify_after_commit(CLAIMS)
        return
    for trial in trials.end_paused(uow.connection, study, promotion.numbers, message=LEFT_BEHIND, now=uow.now):
        announce(uow, study, trial, state=TrialState.PRUNED, message=LEFT_BEHIND)
    complete_if_done(uow, studies.by_id(uow.connection, study.id))


def _of_stage(
    uow: UnitOfWork, study: Study, paused: Sequence[int], *, tables: RungTables, no_more: bool
) -> Promotion | None:
    """What becomes of some of the paused trials of a stage; None: they wait."""
    pruner = pruner_of(study.spec, trial=paused[0])
    if pruner is None:
        return None
    table = tables.up_to_date(uow, study, pruner=pruner, trial=paused[0])
    still = set(paused)
    finals = () if out_of_time(uow, study) else (False, True) if no_more else (False,)
    for is_final in finals:
        chosen = list(islice((n for n in pruner.promotable(table, is_final=is_final) if n in still), MAX_AT_ONCE))
        if chosen:
            return Promotion(study, chosen, go_on=True)
    return Promotion(study, paused[:MAX_AT_ONCE], go_on=False) if no_more else None


def _no_more(uow: UnitOfWork, study: Study, stage: int) -> bool:
    """Whether the rungs of a stage grow no more but by promotion: all of its trials are there, and none goes on."""
    if trials.n_waiting(uow.connection, study.id, at_most=1) or studies.n_running(uow.connection, [study.id]):
        return False
    if study.trials_left == 0 or study.exhausted or out_of_time(uow, study):
        return True
    return stage < len(ends(study.spec)) - 1 and (
        stage < study.stage or (stage == study.stage and study.stage_left == 0)
    )

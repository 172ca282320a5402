"""Promotion: resume paused trials that are among the best, and end those that cannot be any more."""

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

MAX_PER_TRANSACTION = 256
"""Trials; the others follow in the next transaction."""

PROMOTED = "promoted: it is among the best that have come as far"
NOT_PROMOTED = "it was never among the best that have come as far, and no more trials come"


@dataclass(frozen=True, slots=True)
class Promotion:
    """A decision on paused trials of a study, made without a lock.

    Attributes:
        study: the trials' study.
        numbers: of the trials.
        is_promoted: they resume; otherwise they end.
    """

    study: Study
    numbers: Sequence[int]
    is_promoted: bool


def has_paused(uow: UnitOfWork, study: Study) -> bool:
    """Return whether the study has paused trials."""
    return study.spec.pruning.mode == "promote" and bool(trials.paused(uow.connection, study.id))


def decided(uow: UnitOfWork, study: Study, tables: RungTables) -> list[Promotion]:
    """Return the decisions on a study's paused trials by all committed events; none while they stay paused."""
    by_stage: dict[int, list[int]] = defaultdict(list)
    for number in trials.paused(uow.connection, study.id):
        by_stage[stage_of(study.spec, number)].append(number)
    found = (
        _of_stage(uow, study, paused, tables=tables, is_final=_is_final(uow, study, stage))
        for stage, paused in by_stage.items()
    )
    return [promotion for promotion in found if promotion is not None]


def carry_out(uow: UnitOfWork, promotion: Promotion) -> None:
    """Promote or end those of the trials that are still paused."""
    study = promotion.study
    if promotion.is_promoted:
        for trial in trials.promote(uow.connection, study, promotion.numbers, now=uow.now):
            announce(uow, study, trial, state=TrialState.WAITING, message=PROMOTED)
        uow.notify_after_commit(CLAIMS)
        return
    for trial in trials.end_paused(uow.connection, study, promotion.numbers, message=NOT_PROMOTED, now=uow.now):
        announce(uow, study, trial, state=TrialState.PRUNED, message=NOT_PROMOTED)
    complete_if_done(uow, studies.by_id(uow.connection, study.id))


def _of_stage(
    uow: UnitOfWork, study: Study, paused: Sequence[int], *, tables: RungTables, is_final: bool
) -> Promotion | None:
    """Return the decision on paused trials of a stage; None: they stay paused."""
    pruner = pruner_of(study.spec, trial=paused[0])
    if pruner is None:
        return None
    table = tables.up_to_date(uow, study, pruner=pruner, trial=paused[0])
    still = set(paused)
    passes = () if out_of_time(uow, study) else (False, True) if is_final else (False,)
    for is_final_pass in passes:
        chosen = list(
            islice((n for n in pruner.promotable(table, is_final=is_final_pass) if n in still), MAX_PER_TRANSACTION)
        )
        if chosen:
            return Promotion(study, chosen, is_promoted=True)
    return Promotion(study, paused[:MAX_PER_TRANSACTION], is_promoted=False) if is_final else None


def _is_final(uow: UnitOfWork, study: Study, stage: int) -> bool:
    """Return whether only promotions still add to the rungs of a stage: all its trials exist, and none runs."""
    if trials.n_waiting(uow.connection, study.id, at_most=1) or studies.n_running(uow.connection, [study.id]):
        return False
    if study.trials_left == 0 or study.exhausted or out_of_time(uow, study):
        return True
    return stage < len(ends(study.spec)) - 1 and (
        stage < study.stage or (stage == study.stage and study.stage_left == 0)
    )

"""Stages: the transition of a study from one stage to the next, from coarse to fine."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tunefleet.study import stages
from tunefleet_master.search.stage_box import Box, box_around_best
from tunefleet_master.services.planning import histories
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.subscriptions import PLANNER, events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

MAX_RUNNING = 0.25
"""Share of a stage's trials that may still run when the next one begins: waiting for all would idle most workers."""


@dataclass(frozen=True, slots=True)
class NextStage:
    """The next stage of a study, computed from its events without a lock."""

    study: Study
    box: Box


def is_due(uow: UnitOfWork, study: Study) -> bool:
    """Return whether all trials of the stage have begun, most of them have ended, and another stage follows."""
    if study.stage_left != 0 or trials.n_waiting(uow.connection, study.id, at_most=1):
        return False
    if any(stages.stage_of(study.spec, number) == study.stage for number in trials.paused(uow.connection, study.id)):
        return False
    n_running = studies.n_running(uow.connection, [study.id]).get(study.id, 0)
    return n_running <= MAX_RUNNING * stages.planned(study.spec)[study.stage].trials


def plan(uow: UnitOfWork, study: Study) -> NextStage:
    """Return the next stage of a study that is due for it."""
    keep = stages.planned(study.spec)[study.stage + 1].keep
    history = histories.fold(uow.connection, study)
    return NextStage(study, box_around_best(history, study.spec.search_space, stage=study.stage, keep=keep))


def begin(uow: UnitOfWork, following: NextStage) -> bool:
    """Let the study search the box; return False when the study has changed since it was read."""
    before = following.study
    study = studies.lock(uow.connection, before.id)
    if (study.stage, study.version, study.state) != (before.stage, before.version, before.state):
        return False
    box = {name: each.model_dump(mode="json", by_alias=True) for name, each in following.box.parameters.items()}
    studies.begin_stage(uow.connection, study, box=json.dumps(box))
    study = studies.by_id(uow.connection, study.id)
    data = {
        "stage": study.stage,
        "version": study.version,
        "evidence": list(following.box.evidence),
        **histories.space_of(study.searched),
        "before": histories.space_of(before.searched),
    }
    uow.record(study.id, histories.STAGE, trial=None, data=data)
    for topic in (PLANNER, events_of(study.name)):
        uow.notify_after_commit(topic)
    return True

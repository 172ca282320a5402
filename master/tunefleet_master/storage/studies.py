"""Queries on studies."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from tunefleet.errors import NotFound
from tunefleet.protocol import PreflightState, StudyState, TrialState
from tunefleet.study.spec import Budget, StudySpec
from tunefleet.study.stages import n_trials
from tunefleet.study.states import STUDY_OVER, UNFINISHED
from tunefleet_master.storage.tables import IS_TRIAL, StudyRow, TrialRow
from tunefleet_master.storage.values import Study, study_of

_COLUMNS = StudyRow.__table__.columns

# Statements that run thousands of times a second are built once: building one costs more than executing it.
_BY_ID = select(*_COLUMNS).where(StudyRow.id == bindparam("study_id"))
_BY_IDS = select(*_COLUMNS).where(StudyRow.id.in_(bindparam("study_ids", expanding=True)))
_HAS_WAITING = exists().where(TrialRow.study_id == StudyRow.id, TrialRow.state == TrialState.WAITING)
_OFFERS = or_(_HAS_WAITING, StudyRow.sampler.in_(bindparam("samplers", expanding=True)))
_CLAIMABLE = select(*_COLUMNS).where(StudyRow.state == StudyState.RUNNING, _OFFERS)


def find(connection: Connection, name: str) -> Study | None:
    """The study of this name; None if it does not exist."""
    row = connection.execute(select(*_COLUMNS).where(StudyRow.name == name)).one_or_none()
    return None if row is None else study_of(row)


def get(connection: Connection, name: str) -> Study:
    """The study of this name; raises NotFound."""
    study = find(connection, name)
    if study is None:
        raise NotFound(f"there is no study {name!r}.", hint="`tunefleet ls` lists the studies.")
    return study


def by_id(connection: Connection, study_id: int) -> Study:
    """The study with this id, which must exist."""
    return study_of(connection.execute(_BY_ID, {"study_id": study_id}).one())


def by_ids(connection: Connection, study_ids: Collection[int]) -> dict[int, Study]:
    """The studies with these ids, which must exist."""
    rows = connection.execute(_BY_IDS, {"study_ids": list(study_ids)})
    return {study.id: study for study in map(study_of, rows)}


def lock(connection: Connection, study_id: int) -> Study:
    """Read and lock a study; no other master changes it until the transaction ends."""
    query = select(*_COLUMNS).where(StudyRow.id == study_id).with_for_update(key_share=True)
    return study_of(connection.execute(query).one())


def add(connection: Connection, spec: StudySpec, *, sampler: str, reason: str, now: datetime) -> Study:
    """Store a new study in the state `running`."""
    values = {
        "name": spec.name,
        "spec": json.dumps(spec.to_json()),
        "state": StudyState.RUNNING,
        "priority": spec.priority,
        "budget_trials": n_trials(spec),
        "budget_hours": spec.budget.hours,
        "sampler": sampler,
        "sampler_reason": reason,
        "bundle": spec.bundle,
        "created_at": now,
        "started_at": now,
        "preflight": None if spec.preflight is None else PreflightState.PENDING,
    }
    return study_of(connection.execute(insert(StudyRow).values(values).returning(*_COLUMNS)).one())


def page(connection: Connection, *, before_id: int | None, limit: int) -> list[Study]:
    """Studies with ids below `before_id`, newest first."""
    query = select(*_COLUMNS).order_by(StudyRow.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(StudyRow.id < before_id)
    return [study_of(row) for row in connection.execute(query)]


def count(connection: Connection) -> int:
    """The number of studies."""
    return connection.execute(select(func.count()).select_from(StudyRow)).scalar_one()


def running(connection: Connection) -> list[Study]:
    """All running studies, highest priority first."""
    order = (StudyRow.priority.desc(), StudyRow.id)
    query = select(*_COLUMNS).where(StudyRow.state == StudyState.RUNNING).order_by(*order)
    return [study_of(row) for row in connection.execute(query)]


def with_claimable_trials(connection: Connection, *, or_samplers: Collection[str] = ()) -> list[Study]:
    """Running studies that have a waiting trial, or use one of these samplers."""
    return [study_of(row) for row in connection.execute(_CLAIMABLE, {"samplers": list(or_samplers)})]


def n_running(connection: Connection, study_ids: Collection[int]) -> dict[int, int]:
    """The number of running trials of each study; studies without any are left out."""
    query = (
        select(TrialRow.study_id, func.count())
        .where(TrialRow.study_id.in_(study_ids), TrialRow.state == TrialState.RUNNING)
        .group_by(TrialRow.study_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def change_state(
    connection: Connection,
    study: Study,
    new: StudyState,
    *,
    message: str,
    now: datetime,
) -> bool:
    """Change the state, guarded by the state in `study`; return False if it has changed since."""
    values: dict[str, Any] = {"state": new, "message": message}
    if new is StudyState.RUNNING:
        values |= {"started_at": now, "finished_at": None}
    else:
        values["run_s"] = study.elapsed_s(now)
        if new in STUDY_OVER:
            values["finished_at"] = now
    guard = and_(StudyRow.id == study.id, StudyRow.state == study.state)
    return connection.execute(update(StudyRow).where(guard).values(values)).rowcount == 1


def change(
    connection: Connection,
    study_id: int,
    *,
    budget: Budget | None,
    priority: int | None,
) -> None:
    """Change the fields that a user may change; None leaves a field as it is."""
    values: dict[str, Any] = {}
    if budget is not None:
        values |= {"budget_trials": budget.trials, "budget_hours": budget.hours}
    if priority is not None:
        values["priority"] = priority
    if values:
        connection.execute(update(StudyRow).where(StudyRow.id == study_id).values(values))


def change_space(
    connection: Connection, study_id: int, spec: StudySpec, *, box: str, version: int, position: int
) -> None:
    """Change the space of a study that this transaction has locked; its sampler continues at `position`."""
    values = {"spec": json.dumps(spec.to_json()), "box": box, "version": version, "position": position}
    connection.execute(update(StudyRow).where(StudyRow.id == study_id).values(values | {"exhausted": False}))


def begin_stage(connection: Connection, study: Study, *, box: str) -> None:
    """Move a study that this transaction has locked to its next stage, which searches `box`."""
    values = {"stage": study.stage + 1, "box": box, "version": study.version + 1, "exhausted": False}
    connection.execute(update(StudyRow).where(StudyRow.id == study.id).values(values))


def take_numbers(connection: Connection, study: Study, n: int) -> int:
    """Take up to `n` configurations from the budget; return how many were taken.

    Their trials, one for each fold, are numbered from `study.n_created` on. One guarded statement, so that no two
    callers get the same number. Returns 0 if another caller has taken some since the study was read, or if the
    budget is used up.
    """
    n = n if study.trials_left is None else min(n, study.trials_left)
    if n == 0:
        return 0
    total = study.n_configurations + n
    left = or_(StudyRow.budget_trials.is_(None), StudyRow.budget_trials >= total)
    query = update(StudyRow).where(StudyRow.id == study.id, StudyRow.n_created == study.n_created, left)
    return n if connection.execute(query.values(n_created=total * study.folds)).rowcount == 1 else 0


def end_preflight(
    connection: Connection, study_id: int, new: PreflightState, *, report: str | None, now: datetime
) -> None:
    """Record the end of a preflight of a study that this transaction has locked; the study's time begins now."""
    values = {"preflight": new, "preflight_report": report, "started_at": now, "run_s": 0.0}
    connection.execute(update(StudyRow).where(StudyRow.id == study_id).values(values))


def begin_preflight(connection: Connection, study_id: int) -> None:
    """Record that the preflight of a study that this transaction has locked waits for a worker."""
    values = {"preflight": PreflightState.PENDING, "preflight_report": None}
    connection.execute(update(StudyRow).where(StudyRow.id == study_id).values(values))


def set_position(connection: Connection, study_id: int, *, position: int, exhausted: bool) -> None:
    """Store the position of the sampler."""
    query = update(StudyRow).where(StudyRow.id == study_id).values(position=position, exhausted=exhausted)
    connection.execute(query)


def counts(connection: Connection, study_ids: list[int]) -> Mapping[int, dict[TrialState, int]]:
    """Trials by state for each study."""
    query = (
        select(TrialRow.study_id, TrialRow.state, func.count())
        .where(TrialRow.study_id.in_(study_ids), IS_TRIAL)
        .group_by(TrialRow.study_id, TrialRow.state)
    )
    found: dict[int, dict[TrialState, int]] = {study_id: {} for study_id in study_ids}
    for study_id, state, n in connection.execute(query):
        found[study_id][TrialState(state)] = n
    return found


def has_unfinished(connection: Connection, study_id: int) -> bool:
    """Return True if a trial of the study waits, runs or is paused."""
    query = select(TrialRow.id).where(TrialRow.study_id == study_id, TrialRow.state.in_(UNFINISHED)).limit(1)
    return connection.execute(query).first() is not None


def has_bundle(connection: Connection, sha256: str) -> bool:
    """Return True if a study uses this code bundle."""
    return connection.execute(select(StudyRow.id).where(StudyRow.bundle == sha256).limit(1)).first() is not None


def next_to_thin(connection: Connection, ended_before: datetime) -> Study | None:
    """The oldest study that ended before a time and has curves to thin; None if there is none."""
    query = select(*_COLUMNS).where(
        StudyRow.state.in_(STUDY_OVER), StudyRow.finished_at < ended_before, StudyRow.n_thinned < StudyRow.n_created
    )
    row = connection.execute(query.order_by(StudyRow.id).limit(1)).one_or_none()
    return None if row is None else study_of(row)


def n_thinned(connection: Connection, study_id: int) -> int:
    """The number of trials of the study with thinned curves, from number 0 on."""
    return connection.execute(select(StudyRow.n_thinned).where(StudyRow.id == study_id)).scalar_one()


def note_thinned(connection: Connection, study_id: int, n_trials: int) -> None:
    """Store the number of trials with thinned curves."""
    connection.execute(update(StudyRow).where(StudyRow.id == study_id).values(n_thinned=n_trials))


def remove(connection: Connection, study_id: int) -> None:
    """Delete a study and its rows; unreferenced blobs are deleted later."""
    connection.execute(delete(StudyRow).where(StudyRow.id == study_id))

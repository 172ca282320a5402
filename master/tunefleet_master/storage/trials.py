"""Queries on trials.

Every write of a state is guarded by the state that was read. A write that fails its guard changes nothing and returns
None or False.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.orm import aliased

from tunefleet.errors import NotFound
from tunefleet.names import TrialId
from tunefleet.protocol import Failure, StopReason, TrialState
from tunefleet.study.space import Configuration
from tunefleet.study.states import FINISHED, LIVE
from tunefleet_master.lifecycle import Verdict, check_transition
from tunefleet_master.storage.rowsets import RowInsert
from tunefleet_master.storage.tables import IS_TRIAL, StudyRow, TrialRow, table_of
from tunefleet_master.storage.values import NewTrial, Study, Trial, trial_of

_T = table_of(TrialRow)
_STUDY = StudyRow.name.label("study")

USER_ORIGIN = "user"
"""The origin of a trial that a user requested."""
WARM_START = "warm_start"
"""The origin of the best configuration of an earlier study."""
RECIPE = "recipe"
"""The prefix of a published recipe's origin; the recipe's name follows."""


def selection() -> Select[Any]:
    """All columns that `trial_of` needs."""
    return select(*_T.c, _STUDY).join(StudyRow, StudyRow.id == TrialRow.study_id)


_ADD = RowInsert(_T)

# Statements that run thousands of times a second are built once: building one costs more than executing it.
_BY_ID = selection().where(_T.c.id == bindparam("trial_id"))
_BY_IDS = selection().where(_T.c.id.in_(bindparam("trial_ids", expanding=True)))


def find(connection: Connection, trial_id: TrialId) -> Trial | None:
    """The trial with this id; None if it does not exist."""
    row = connection.execute(_BY_ID, {"trial_id": trial_id}).one_or_none()
    return None if row is None else trial_of(row, row.study)


def get(connection: Connection, trial_id: TrialId) -> Trial:
    """The trial with this id; raises NotFound."""
    trial = find(connection, trial_id)
    if trial is None:
        raise missing(trial_id)
    return trial


def missing(trial_id: TrialId) -> NotFound:
    """The error for a missing trial."""
    return NotFound(f"there is no trial with id {trial_id}.")


def by_number(connection: Connection, study: Study, number: int) -> Trial:
    """The study's trial of this number; raises NotFound."""
    query = selection().where(TrialRow.study_id == study.id, TrialRow.number == number)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(
            f"study {study.name!r} has no trial {number}.",
            hint=f"It has {study.n_created} trials.",
        )
    return trial_of(row, row.study)


def by_ids(connection: Connection, trial_ids: Collection[TrialId]) -> dict[TrialId, Trial]:
    """The existing ones among these trials."""
    rows = connection.execute(_BY_IDS, {"trial_ids": list(trial_ids)})
    return {TrialId(row.id): trial_of(row, row.study) for row in rows}


def numbered_from(connection: Connection, study_id: int, number: int, *, limit: int) -> list[Trial]:
    """Up to `limit` trials of the study with this number or a higher one, ordered by number."""
    query = selection().where(TrialRow.study_id == study_id, TrialRow.number >= number)
    rows = connection.execute(query.order_by(TrialRow.number).limit(limit))
    return [trial_of(row, row.study) for row in rows]


def numbers_with(connection: Connection, study_id: int, hashes: Collection[str]) -> dict[str, int]:
    """The numbers of the trials with these configurations, by the configuration's hash."""
    query = select(TrialRow.config_hash, TrialRow.number).where(
        TrialRow.study_id == study_id, TrialRow.config_hash.in_(hashes)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def add(connection: Connection, study_id: int, new: Sequence[NewTrial], *, now: datetime) -> None:
    """Store new trials in the state `waiting`. Trials that users requested precede the sampler's proposals."""
    common: dict[str, Any] = {
        "study_id": study_id,
        "state": TrialState.WAITING,
        "metrics": {},
        "failures": {},
        "created_at": now,
        "updated_at": now,
    }
    rows = [{**asdict(trial), **common, "rank": 0 if trial.position is None else 1} for trial in new]
    _ADD.execute(connection, rows)


def replace_by_user(
    connection: Connection, trial: Trial, params: Configuration, *, config_hash: str, now: datetime
) -> None:
    """Replace a proposal that waits and never ran by a user's configuration; its number and seed stay.

    This transaction has locked the trial.
    """
    values = {"params": params, "config_hash": config_hash, "position": None, "rank": 0, "updated_at": now}
    connection.execute(update(TrialRow).where(TrialRow.id == trial.id).values(**values, origin=USER_ORIGIN))


@dataclass(frozen=True, slots=True)
class Replacement:
    """A configuration that replaces another one, and the origin of its proposal."""

    params: Configuration
    config_hash: str
    position: int
    origin: str
    sampler_version: int


def live(connection: Connection, study: Study) -> list[Trial]:
    """The waiting and running trials, ordered by number; locked until the transaction ends."""
    query = selection().where(TrialRow.study_id == study.id, TrialRow.state.in_(LIVE), IS_TRIAL).order_by(TrialRow.id)
    return [trial_of(row, row.study) for row in connection.execute(query.with_for_update(of=TrialRow))]


def replace_waiting(connection: Connection, trial: Trial, found: Replacement, *, version: int, now: datetime) -> None:
    """Replace the configuration of a trial that this transaction has read, and that waits and never ran."""
    values = {**asdict(found), "batch": found.position, "saw": None, "version": version, "updated_at": now}
    connection.execute(update(TrialRow).where(TrialRow.id == trial.id).values(values))


def cancel(connection: Connection, trial: Trial, *, message: str, now: datetime) -> None:
    """Cancel a waiting trial that this transaction has read."""
    check_transition(trial.state, TrialState.CANCELLED)
    values = {"state": TrialState.CANCELLED, "message": message, "finished_at": now, "updated_at": now}
    connection.execute(update(TrialRow).where(TrialRow.id == trial.id).values(values))


def n_waiting(connection: Connection, study_id: int, *, at_most: int) -> int:
    """The number of waiting trials, counted up to `at_most`."""
    waiting = select(TrialRow.id).where(TrialRow.study_id == study_id, TrialRow.state == TrialState.WAITING)
    return connection.execute(select(func.count()).select_from(waiting.limit(at_most).subquery())).scalar_one()


_END = (
    update(_T)
    .where(_T.c.id == bindparam("of_trial"), _T.c.attempt == bindparam("of_attempt"), _T.c.state == bindparam("seen"))
    .values(
        state=bindparam("to_state"),
        failure=bindparam("why"),
        message=bindparam("words"),
        exception=bindparam("raised"),
        failures=bindparam("counted"),
        attempt_open=bindparam("is_open"),
        lease_deadline=None,
        rank=case((bindparam("waits", type_=Boolean()), 0), else_=_T.c.rank),
        value=bindparam("result"),
        best_step=bindparam("at_step"),
        last_step=bindparam("up_to_step"),
        metrics=bindparam("there"),
        finished_at=bindparam("ended_at"),
        updated_at=bindparam("now"),
    )
)


def end(connection: Connection, trial: Trial, verdict: Verdict, *, now: datetime, value: float | None = None) -> bool:
    """End the attempt of a trial that `trial` was read in; return False if the trial has changed since.

    Args:
        connection: in a transaction.
        trial: as it was read, with the steps and metrics of the attempt's whole curve.
        verdict: how the attempt ends.
        now: the time.
        value: the result; None: the attempt has none.
    """
    to = verdict.end
    check_transition(trial.state, to.state)
    waits = to.state is TrialState.WAITING
    values = {
        "of_trial": trial.id,
        "of_attempt": trial.attempt,
        "seen": trial.state,
        "to_state": to.state,
        "why": to.failure,
        "words": verdict.message,
        "raised": verdict.exception,
        "counted": {str(kind): n for kind, n in verdict.failures.items()},
        "is_open": verdict.attempt_open,
        "waits": waits,
        "result": value,
        "at_step": trial.best_step,
        "up_to_step": trial.last_step,
        "there": trial.metrics,
        "ended_at": now if to.state in FINISHED else None,
        "now": now,
    }
    return connection.execute(_END, values).rowcount == 1


def cancel_waiting(
    connection: Connection,
    study_id: int,
    *,
    message: str,
    now: datetime,
    states: Collection[TrialState] = (TrialState.WAITING,),
) -> list[int]:
    """Cancel trials in these states, and return their numbers."""
    waiting = and_(TrialRow.study_id == study_id, TrialRow.state.in_(states))
    cancelled = {
        "state": TrialState.CANCELLED,
        "message": message,
        "finished_at": now,
        "updated_at": now,
    }
    query = update(TrialRow).where(waiting).values(cancelled).returning(TrialRow.number)
    return sorted(connection.execute(query).scalars())


def cancel_study(connection: Connection, study_id: int, *, message: str, now: datetime) -> None:
    """Cancel waiting and paused trials, and order running ones to stop."""
    cancel_waiting(connection, study_id, message=message, now=now, states=(TrialState.WAITING, TrialState.PAUSED))
    of_study = TrialRow.study_id == study_id
    stop = {"stop": StopReason.CANCELLED, "stop_message": message, "updated_at": now}
    still_running = and_(of_study, TrialRow.state == TrialState.RUNNING, TrialRow.stop.is_(None))
    connection.execute(update(TrialRow).where(still_running).values(stop))


def paused(connection: Connection, study_id: int) -> list[int]:
    """The numbers of the paused trials."""
    query = select(TrialRow.number).where(TrialRow.study_id == study_id, TrialRow.state == TrialState.PAUSED)
    return list(connection.execute(query.order_by(TrialRow.number)).scalars())


# The value of a paused trial is its best so far when it continues, and its result when it does not.
_REACHED = func.coalesce(TrialRow.value, TrialRow.interim_value)


def promote(connection: Connection, study: Study, numbers: Collection[int], *, now: datetime) -> list[Trial]:
    """Queue paused trials before all others; return those that were still paused."""
    values = {"state": TrialState.WAITING, "rank": 0, "value": None, "interim_value": _REACHED, "updated_at": now}
    return _move_paused(connection, study, numbers, values)


def end_paused(
    connection: Connection, study: Study, numbers: Collection[int], *, message: str, now: datetime
) -> list[Trial]:
    """Prune paused trials with the values that they had reached; return those that were still paused."""
    values = {
        "state": TrialState.PRUNED,
        "value": _REACHED,
        "message": message,
        "finished_at": now,
        "updated_at": now,
    }
    return _move_paused(connection, study, numbers, values)


def _move_paused(
    connection: Connection, study: Study, numbers: Collection[int], values: Mapping[str, Any]
) -> list[Trial]:
    of_study = and_(TrialRow.study_id == study.id, TrialRow.number.in_(numbers))
    query = update(TrialRow).where(of_study, TrialRow.state == TrialState.PAUSED).values(**values)
    rows = connection.execute(query.returning(*_T.c))
    return sorted((trial_of(row, study.name) for row in rows), key=lambda trial: trial.number)


def n_with_exception(connection: Connection, study: Study, exception: str, *, since: datetime) -> int:
    """The number of configurations of the study whose last failure since a time was this exception."""
    query = (
        select(func.count(func.distinct(TrialRow.number // study.folds)))
        .select_from(TrialRow)
        .where(
            TrialRow.study_id == study.id,
            TrialRow.exception == exception,
            TrialRow.updated_at >= since,
        )
    )
    return connection.execute(query).scalar_one()


def retry(
    connection: Connection,
    study_id: int,
    failures: Sequence[Failure] | None,
    *,
    now: datetime,
) -> list[int]:
    """Queue failed trials again with their failure counts reset; return their numbers.

    Segments of a population stay failed if their member has a later segment.
    """
    chosen = and_(TrialRow.study_id == study_id, TrialRow.state == TrialState.FAILED, ~_has_successor(), IS_TRIAL)
    if failures is not None:
        chosen = and_(chosen, TrialRow.failure.in_(failures))
    query = update(TrialRow).where(chosen).values(retry_values(now)).returning(TrialRow.number)
    return sorted(connection.execute(query).scalars())


def retry_values(now: datetime) -> dict[str, Any]:
    """The values of a failed trial that is queued again with its failure counts reset."""
    return {
        "state": TrialState.WAITING,
        "failure": None,
        "message": "",
        "exception": None,
        "failures": {},
        "attempt_open": False,
        "rank": 0,
        "finished_at": None,
        "updated_at": now,
    }


def complete_params(connection: Connection, study: Study) -> list[Configuration]:
    """The configurations of the complete trials, best first."""
    order = TrialRow.value.asc() if study.spec.objective.goal == "minimize" else TrialRow.value.desc()
    query = select(TrialRow.params).where(
        TrialRow.study_id == study.id, TrialRow.state == TrialState.COMPLETE, TrialRow.value.is_not(None)
    )
    return list(connection.execute(query.order_by(order, TrialRow.number)).scalars())


def failed_params(
    connection: Connection, study_id: int, failures: Collection[Failure], *, limit: int
) -> list[Configuration]:
    """The configurations of the trials whose last failure is one of these."""
    query = select(TrialRow.params).where(TrialRow.study_id == study_id, TrialRow.failure.in_(failures), IS_TRIAL)
    return list(connection.execute(query.order_by(TrialRow.number.desc()).limit(limit)).scalars())


def _has_successor() -> ColumnElement[bool]:
    """True if the member of a segment has a later segment."""
    later = aliased(TrialRow)
    return exists().where(
        later.study_id == TrialRow.study_id, later.member == TrialRow.member, later.number > TrialRow.number
    )


def results(connection: Connection, study_id: int) -> list[tuple[TrialId, Mapping[str, float]]]:
    """The complete trials of a study, ordered by number, each with the metrics of its best report."""
    complete = and_(TrialRow.study_id == study_id, TrialRow.state == TrialState.COMPLETE, IS_TRIAL)
    query = select(TrialRow.id, TrialRow.metrics).where(complete).order_by(TrialRow.number)
    return [(TrialId(trial_id), metrics) for trial_id, metrics in connection.execute(query)]


def best(connection: Connection, study: Study) -> Trial | None:
    """The complete trial with the best value; among equal values, the lowest number."""
    ascending = study.spec.objective.goal == "minimize"
    order = TrialRow.value.asc() if ascending else TrialRow.value.desc()
    query = selection().where(
        TrialRow.study_id == study.id,
        TrialRow.state == TrialState.COMPLETE,
        TrialRow.value.is_not(None),
    )
    row = connection.execute(query.order_by(order, TrialRow.number).limit(1)).one_or_none()
    return None if row is None else trial_of(row, row.study)

"""Queries that find violations of invariants. Each reads a whole table, so only the doctor may run them.

A violation is a sentence that names the study and the trial.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, exists, func, or_, select, text

from tunefleet.names import TrialId
from tunefleet.protocol import StudyState, TrialState
from tunefleet.study.space import Configuration
from tunefleet.study.states import FINISHED, STUDY_OVER, UNFINISHED
from tunefleet_master.lifecycle import MAX_OWN_CRASHES, OWN_CRASHES
from tunefleet_master.storage.engine import backend_of
from tunefleet_master.storage.tables import (
    IS_TRIAL,
    ArtifactRow,
    AttemptRow,
    BlobRow,
    EventRow,
    ReportRow,
    StudyRow,
    TrialRow,
)
from tunefleet_master.storage.values import Study, study_of

Describe = Callable[[Row[Any]], str]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The database's record of a trial's file."""

    study: str
    trial: int
    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """The database's record of an attempt; `answer` is None if its worker did not end it."""

    worker: str
    outcome: str | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration, and the origin of its proposal; `position` is None if a user requested it."""

    trial: int
    position: int | None
    params: Configuration
    config_hash: str
    origin: str
    sampler_version: int | None
    batch: int | None
    saw: int | None
    version: int
    member: int | None
    parent: int | None
    until: int | None


def count(connection: Connection, table: type[StudyRow | TrialRow | AttemptRow | ReportRow | ArtifactRow]) -> int:
    """The number of rows in a table."""
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def broken_pages(connection: Connection) -> list[str]:
    """Corrupt pages of an SQLite file and rows with broken references; Postgres prevents both."""
    if backend_of(connection) != "sqlite":
        return []
    pages = [str(found) for found in connection.execute(text("PRAGMA integrity_check(20)")).scalars() if found != "ok"]
    orphans = connection.execute(text("PRAGMA foreign_key_check")).all()
    return [*pages, *(f"row {row[1]} of table {row[0]} refers to a missing row of {row[2]}" for row in orphans[:20])]


def uneven_results(connection: Connection) -> list[str]:
    """Complete trials without exactly one complete attempt, their newest, or without exactly one completion event."""
    results = (
        select(
            AttemptRow.trial_id,
            func.count().label("n"),
            func.max(AttemptRow.attempt).label("newest"),
        )
        .where(AttemptRow.outcome == TrialState.COMPLETE)
        .group_by(AttemptRow.trial_id)
        .subquery()
    )
    n = func.coalesce(results.c.n, 0)
    is_complete = TrialRow.state == TrialState.COMPLETE
    wrong = or_(
        and_(is_complete, or_(n != 1, results.c.newest != TrialRow.attempt)),
        and_(~is_complete, n != 0),
    )
    query = _trials(n.label("n")).join(results, results.c.trial_id == TrialRow.id, isouter=True).where(wrong)
    attempts = _sentences(connection, query, lambda row: f"is {row.state} with {row.n} complete attempts")
    n_events = (
        select(func.count())
        .where(
            EventRow.study_id == TrialRow.study_id,
            EventRow.trial == TrialRow.number,
            EventRow.kind == f"trial.{TrialState.COMPLETE}",
        )
        .scalar_subquery()
    )
    events = _trials(n_events.label("n")).where(n_events != case((is_complete, 1), else_=0))
    return attempts + _sentences(connection, events, lambda row: f"is {row.state} with {row.n} completion events")


def lost_trials(connection: Connection) -> list[str]:
    """Created trials that are missing, and unfinished trials of studies that have ended."""
    n, top = func.count(TrialRow.id), func.max(TrialRow.number)
    there = (
        select(StudyRow.name, StudyRow.n_created, n.label("n"))
        .join(TrialRow, and_(TrialRow.study_id == StudyRow.id, IS_TRIAL), isouter=True)
        .group_by(StudyRow.id, StudyRow.name, StudyRow.n_created)
        .having(or_(n != StudyRow.n_created, top != StudyRow.n_created - 1))
    )
    missing = [
        f"study {row.name}: {row.n_created} trials were created, but {row.n} exist" for row in connection.execute(there)
    ]
    forgotten = _trials().where(TrialRow.state.in_(UNFINISHED), StudyRow.state.in_(STUDY_OVER))
    stopping = and_(StudyRow.state == StudyState.STOPPED, TrialRow.state == TrialState.RUNNING)  # ordered to stop
    return missing + _sentences(
        connection, forgotten.where(~stopping), lambda row: f"is {row.state} in a study that has ended"
    )


def unfenced_writes(connection: Connection) -> list[str]:
    """Attempts without consecutive numbers, older attempts that have not ended, and writes of unknown attempts."""
    ended = func.sum(case((AttemptRow.ended_at.is_not(None), 1), else_=0))
    of_trial = (
        select(
            AttemptRow.trial_id,
            func.count().label("n"),
            func.max(AttemptRow.attempt).label("newest"),
            ended.label("n_ended"),
        )
        .group_by(AttemptRow.trial_id)
        .subquery()
    )
    n = func.coalesce(of_trial.c.n, 0)
    gaps = or_(n != TrialRow.attempt, func.coalesce(of_trial.c.newest, 0) != TrialRow.attempt)
    open_ones = and_(n > 0, of_trial.c.n_ended < n - 1)
    query = _trials(TrialRow.attempt, n.label("n")).join(of_trial, of_trial.c.trial_id == TrialRow.id, isouter=True)
    out = _sentences(
        connection, query.where(gaps), lambda row: f"is at attempt {row.attempt}, but has {row.n} recorded attempts"
    )
    out += _sentences(connection, query.where(open_ones), lambda row: "has an older attempt that has not ended")
    for table in (ReportRow, ArtifactRow):
        known = exists().where(AttemptRow.trial_id == table.trial_id, AttemptRow.attempt == table.attempt)
        strays = _trials(table.attempt).join(table, table.trial_id == TrialRow.id).where(~known).distinct()
        found = _sentences(
            connection, strays, lambda row: f"has a write of attempt {row.attempt}, which does not exist"
        )
        out += [f"{sentence} ({table.__tablename__})" for sentence in found]
    return out


def overdrawn_budgets(connection: Connection) -> list[str]:
    """Studies with more trials than their budget, or ended by it with another number of finished trials."""
    finished = func.sum(case((TrialRow.state.in_(FINISHED), 1), else_=0))
    by_budget = and_(
        StudyRow.state == StudyState.COMPLETE, StudyRow.exhausted.is_(False), StudyRow.budget_hours.is_(None)
    )
    n = func.count(TrialRow.id)
    query = (
        select(*StudyRow.__table__.columns, by_budget.label("by_budget"), n.label("n"), finished.label("n_finished"))
        .join(TrialRow, and_(TrialRow.study_id == StudyRow.id, IS_TRIAL))
        .where(StudyRow.budget_trials.is_not(None))
        .group_by(StudyRow.id)
    )
    found = []
    for row in connection.execute(query):
        most = row.budget_trials * study_of(row).folds
        if row.n > most or (row.by_budget and row.n_finished != most):
            found.append(
                f"study {row.name}: {row.state} with {row.n_finished} finished of {row.n} trials; its budget is {most}"
            )
    return found


def trials_past_their_crashes(connection: Connection) -> list[str]:
    """Trials that crashed more often than allowed."""
    query = select(StudyRow.name, TrialRow.number, TrialRow.failures).join(StudyRow, StudyRow.id == TrialRow.study_id)
    return [
        f"study {name}, trial {number}: crashed {crashes} times"
        for name, number, failures in connection.execute(query.execution_options(yield_per=1_000))
        if (crashes := sum(failures.get(str(kind), 0) for kind in OWN_CRASHES)) > MAX_OWN_CRASHES
    ]


def odd_states(connection: Connection) -> list[str]:
    """Trials whose columns contradict their state."""
    running = TrialRow.state == TrialState.RUNNING
    finished = TrialRow.state.in_(FINISHED)
    odd = {
        "is running without a worker, a lease or an attempt": and_(
            running, or_(TrialRow.worker.is_(None), TrialRow.lease_deadline.is_(None), TrialRow.attempt < 1)
        ),
        "is running, but its attempt has ended": and_(running, TrialRow.attempt_open.is_(False)),
        "is not running, but has a lease": and_(~running, TrialRow.lease_deadline.is_not(None)),
        "has ended without a time of its end": and_(finished, TrialRow.finished_at.is_(None)),
        "has not ended, but has a time of its end": and_(~finished, TrialRow.finished_at.is_not(None)),
        "is in an unknown state": TrialRow.state.not_in(list(TrialState)),
        "is complete without a value": and_(TrialRow.state == TrialState.COMPLETE, TrialRow.value.is_(None)),
    }
    return [
        sentence
        for what, condition in odd.items()
        for sentence in _sentences(connection, _trials().where(condition), partial(_constant, what))
    ]


def studies(connection: Connection) -> list[Study]:
    """All studies."""
    return [study_of(row) for row in connection.execute(select(*StudyRow.__table__.columns).order_by(StudyRow.id))]


def proposals(connection: Connection, study_id: int) -> Iterator[Proposal]:
    """The configurations of a study, ordered by position."""
    made_from = (TrialRow.origin, TrialRow.sampler_version, TrialRow.batch, TrialRow.saw, TrialRow.version)
    segment = (TrialRow.member, TrialRow.parent, TrialRow.until)
    query = (
        select(TrialRow.number, TrialRow.position, TrialRow.params, TrialRow.config_hash, *made_from, *segment)
        .where(TrialRow.study_id == study_id, IS_TRIAL)
        .order_by(TrialRow.position)
    )
    for row in connection.execute(query):
        yield Proposal(*row)


def stored_files(connection: Connection) -> Iterator[StoredFile]:
    """All files of all trials."""
    query = (
        select(StudyRow.name, TrialRow.number, ArtifactRow.name, ArtifactRow.sha256, BlobRow.size_bytes)
        .join(TrialRow, TrialRow.id == ArtifactRow.trial_id)
        .join(StudyRow, StudyRow.id == TrialRow.study_id)
        .join(BlobRow, BlobRow.sha256 == ArtifactRow.sha256)
        .order_by(ArtifactRow.sha256)
    )
    for row in connection.execute(query):
        yield StoredFile(*row)


def trial_names(connection: Connection, trial_ids: Collection[TrialId]) -> dict[TrialId, tuple[str, int]]:
    """Study and number of each trial; missing trials are left out."""
    query = select(TrialRow.id, StudyRow.name, TrialRow.number).join(StudyRow, StudyRow.id == TrialRow.study_id)
    found = connection.execute(query.where(TrialRow.id.in_(trial_ids)))
    return {TrialId(trial_id): (study, number) for trial_id, study, number in found}


def ended_segments(connection: Connection, trial_ids: Collection[TrialId]) -> set[TrialId]:
    """The subset of these trials that may have had their checkpoints deleted on purpose."""
    query = select(TrialRow.id).where(TrialRow.member.is_not(None), TrialRow.state.in_(FINISHED))
    return {TrialId(trial_id) for trial_id in connection.execute(query.where(TrialRow.id.in_(trial_ids))).scalars()}


def thinned(connection: Connection, trial_ids: Collection[TrialId]) -> set[TrialId]:
    """The subset of these trials with curves that were thinned on purpose."""
    query = select(TrialRow.id).join(StudyRow, StudyRow.id == TrialRow.study_id)
    found = connection.execute(query.where(TrialRow.id.in_(trial_ids), TrialRow.number < StudyRow.n_thinned))
    return {TrialId(trial_id) for trial_id in found.scalars()}


def attempts(connection: Connection, trial_ids: Collection[TrialId]) -> dict[tuple[TrialId, int], StoredAttempt]:
    """Worker, outcome and answer of each attempt of these trials."""
    columns = (AttemptRow.trial_id, AttemptRow.attempt, AttemptRow.worker, AttemptRow.outcome, AttemptRow.answer)
    found = connection.execute(select(*columns).where(AttemptRow.trial_id.in_(trial_ids)))
    return {(TrialId(row.trial_id), row.attempt): StoredAttempt(row.worker, row.outcome, row.answer) for row in found}


def reports(
    connection: Connection, trial_ids: Collection[TrialId]
) -> dict[tuple[TrialId, int, int], tuple[int, Mapping[str, float]]]:
    """Number and metrics of each report of these trials, by trial, attempt and step."""
    columns = (ReportRow.trial_id, ReportRow.attempt, ReportRow.step, ReportRow.number, ReportRow.metrics)
    found = connection.execute(select(*columns).where(ReportRow.trial_id.in_(trial_ids)))
    return {(TrialId(row.trial_id), row.attempt, row.step): (row.number, row.metrics) for row in found}


def files(connection: Connection, trial_ids: Collection[TrialId]) -> dict[tuple[TrialId, str], tuple[int, str]]:
    """Attempt and hash of each file of these trials, by trial and name."""
    columns = (ArtifactRow.trial_id, ArtifactRow.name, ArtifactRow.attempt, ArtifactRow.sha256)
    found = connection.execute(select(*columns).where(ArtifactRow.trial_id.in_(trial_ids)))
    return {(TrialId(row.trial_id), row.name): (row.attempt, row.sha256) for row in found}


def _constant(what: str, row: Row[Any]) -> str:
    return what


def _trials(*more: Any) -> Select[Any]:
    columns = (StudyRow.name.label("study"), TrialRow.number, TrialRow.state, *more)
    return select(*columns).select_from(TrialRow).join(StudyRow, StudyRow.id == TrialRow.study_id).where(IS_TRIAL)


def _sentences(connection: Connection, query: Select[Any], describe: Describe) -> list[str]:
    return [f"study {row.study}, trial {row.number}: {describe(row)}" for row in connection.execute(query)]

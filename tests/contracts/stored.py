"""The content of a database after a test's calls, and the invariants of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, text
from tests.contracts.oracle import Oracle

from tunefleet.protocol import TrialState
from tunefleet.study.states import FINISHED
from tunefleet_master.storage.engine import backend_of
from tunefleet_master.storage.tables import AttemptRow, EventRow, ReportRow, StudyRow, Table, TrialRow
from tunefleet_master.storage.unit_of_work import UnitOfWork

_S, _T, _A, _R = (row.__table__.c for row in (StudyRow, TrialRow, AttemptRow, ReportRow))
COMPARED = (_T.id, _T.number, _T.state, _T.attempt, _T.attempt_open, _T.stop, _T.failure, _T.last_step)
CHECKED = (_T.study_id, _T.lease_deadline, _T.finished_at, _T.value, _T.worker, _T.config_hash)
QUERIES = (
    select(_S.id, _S.name, _S.state, _S.n_created, _S.budget_trials),
    select(*COMPARED, *CHECKED),
    select(_A.trial_id, _A.attempt).order_by(_A.trial_id, _A.attempt),
    select(_R.trial_id, _R.attempt, _R.step, _R.number, _R.metrics),
)
IDENTITIES = select(_T.id, _S.name, _T.number).join(StudyRow, _S.id == _T.study_id).order_by(_T.id)


def wipe(uow: UnitOfWork) -> None:
    """Empty the database, and let ids begin at 1 again."""
    tables = Table.metadata.sorted_tables
    for table in reversed(tables):
        uow.connection.execute(delete(table))
    if backend_of(uow.connection) == "sqlite":
        uow.connection.execute(text("DELETE FROM sqlite_sequence"))
        return
    for table in tables:
        if (counted := table.autoincrement_column) is not None:
            uow.connection.execute(text(f"ALTER SEQUENCE {table.name}_{counted.name}_seq RESTART"))


def identities(uow: UnitOfWork) -> list[tuple[int, str, int]]:
    """Every trial: id, study, number."""
    return [tuple(row) for row in uow.connection.execute(IDENTITIES)]


@dataclass(frozen=True)
class Stored:
    """The content of the database."""

    studies: Sequence[Any]
    trials: Sequence[Any]
    attempts: Sequence[Any]
    reports: Sequence[Any]

    @classmethod
    def read(cls, uow: UnitOfWork) -> Stored:
        return cls(*(uow.connection.execute(query).all() for query in QUERIES))

    def as_of_oracle(self) -> Any:
        return (
            {row.name: (row.state, row.n_created) for row in self.studies},
            {row.id: tuple(row)[: len(COMPARED)] for row in self.trials},
            {(row.trial_id, row.attempt, row.step): (row.number, row.metrics) for row in self.reports},
        )

    def check(self) -> None:
        """Check the invariants of the rows."""
        attempts: Counter[int] = Counter()
        for trial_id, attempt in self.attempts:
            attempts[trial_id] += 1
            assert attempt == attempts[trial_id], "attempts have a gap"
        numbers: dict[int, list[int]] = {}
        for row in self.trials:
            numbers.setdefault(row.study_id, []).append(row.number)
            assert attempts[row.id] == row.attempt
            assert (row.state == TrialState.RUNNING) == (row.lease_deadline is not None)
            assert (row.state in FINISHED) == (row.finished_at is not None)
            assert row.state != TrialState.COMPLETE or row.value is not None
            assert row.state != TrialState.RUNNING or (row.attempt_open and row.worker)
        assert all(sorted(found) == list(range(len(found))) for found in numbers.values())
        assert len({(row.study_id, row.config_hash) for row in self.trials}) == len(self.trials), "a twin"
        for study in self.studies:
            assert len(numbers.get(study.id, [])) == study.n_created <= study.budget_trials


def expected(oracle: Oracle) -> Any:
    """Return the content that the database must have, in the form of `Stored.as_of_oracle`."""
    known = oracle.trials.values()
    return (
        {name: (study.state, len(study.trials)) for name, study in oracle.studies.items()},
        {t.id: (t.id, t.number, t.state, t.attempt, t.attempt_open, t.stop, t.failure, t.last_step) for t in known},
        {(t.id, *place): report for t in known for place, report in t.reports.items()},
    )


def check_results_are_counted_once(uow: UnitOfWork) -> None:
    """A complete trial has one attempt that completed, and one event that says so."""
    run = uow.connection.execute
    complete = set(run(select(_T.id).where(_T.state == TrialState.COMPLETE)).scalars())
    ended = run(select(AttemptRow.trial_id).where(AttemptRow.outcome == TrialState.COMPLETE)).scalars()
    assert Counter(ended) == Counter(complete)
    n_events = run(select(func.count()).select_from(EventRow).where(EventRow.kind == "trial.complete")).scalar_one()
    assert n_events == len(complete)

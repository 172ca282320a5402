"""Tables. A `...Row` class is a table; storage returns the dataclasses of `values.py`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, cast

import sqlalchemy
from pydantic_core import from_json, to_json
from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from tunefleet.protocol.preflight import PREFLIGHT_NUMBER

# Named constraints, so that later migrations can drop or change them on every database.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time, stored as seconds since 1970: one comparable number on every database."""

    impl = Float(53)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> float | None:
        """Convert to seconds; refuse naive times, which would be read in the machine's time zone."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a time zone must not be stored")
        return None if value is None else value.timestamp()

    def process_result_value(self, value: float | None, dialect: Dialect) -> datetime | None:
        """Convert seconds to an aware UTC time."""
        return None if value is None else datetime.fromtimestamp(value, UTC)


def dump_metrics(metrics: Mapping[str, float]) -> str:
    """Write metrics as JSON text; NaN and infinities, which JSON lacks, become strings."""
    return to_json(metrics, inf_nan_mode="strings").decode()  # takes an eighth of the json module's time


class MetricValues(TypeDecorator[Mapping[str, float]]):
    """Metrics as JSON text; NaN and infinities, which JSON lacks, are stored as strings."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, float] | None, dialect: Dialect) -> str | None:
        """Write the metrics as JSON text."""
        return None if value is None else dump_metrics(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> dict[str, float] | None:
        """Read all values as floats."""
        return None if value is None else {name: float(x) for name, x in from_json(value).items()}


def _partial(name: str, *columns: str, where: str) -> Index:
    """A partial index. No index has a column that reports change, so Postgres updates none for a report."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class Table(DeclarativeBase):
    """All tables of the master."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcTime(),
        dict[str, Any]: JSON(),
        str: Text(),
    }


def table_of(row: type[Table]) -> sqlalchemy.Table:
    """The table of a row class, for prebuilt statements without object mapping."""
    return cast("sqlalchemy.Table", row.__table__)


class StudyRow(Table):
    """One search."""

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    spec: Mapped[str]
    state: Mapped[str] = mapped_column(String(16), index=True)
    message: Mapped[str] = mapped_column(default="")
    priority: Mapped[int]
    budget_trials: Mapped[int | None]
    budget_hours: Mapped[float | None]
    sampler: Mapped[str] = mapped_column(String(32))
    sampler_reason: Mapped[str]
    bundle: Mapped[str | None] = mapped_column(String(64))
    n_created: Mapped[int] = mapped_column(default=0)
    """Number of trials created, and the next trial's number. Taking a trial raises it, guarded by the budget."""
    position: Mapped[int] = mapped_column(default=0)
    """The number of proposals that the sampler has made, including duplicates."""
    exhausted: Mapped[bool] = mapped_column(default=False)
    """True when the sampler has no further configuration."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime]
    """The last time it began to run; earlier failures no longer count."""
    finished_at: Mapped[datetime | None]
    run_s: Mapped[float] = mapped_column(default=0.0)
    """Seconds that it has run before `started_at`, without pauses."""
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    """The version of the space; raised with each change."""
    stage: Mapped[int] = mapped_column(default=0, server_default="0")
    """The stage of the coarse-to-fine plan, from 0."""
    box: Mapped[str] = mapped_column(default="{}", server_default="{}")
    """The parameters that the stage has narrowed, as JSON; the others are the spec's."""
    n_thinned: Mapped[int] = mapped_column(default=0, server_default="0")
    """Number of trials, from number 0 on, with thinned curves, which only studies have that ended long ago."""
    preflight: Mapped[str | None] = mapped_column(String(16))
    """The state of the preflight, whose row is the trial of number -1; None without a preflight."""
    preflight_report: Mapped[str | None]
    """The result of the preflight, as JSON."""


class TrialRow(Table):
    """One configuration of a study, and its current attempt."""

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        UniqueConstraint("study_id", "config_hash"),
        Index("ix_trials_queue", "study_id", "state", "rank", "id"),
        Index("ix_trials_changes", "study_id", "updated_at"),
        _partial("ix_trials_running", "study_id", where="state = 'running'"),
        _partial("ix_trials_requests", "worker", "request_id", where="state = 'running'"),
        _partial("ix_trials_ranking", "study_id", "value", where="state = 'complete'"),
        _partial("ix_trials_exceptions", "study_id", "exception", where="exception IS NOT NULL"),
        # Each page keeps room for new versions of a row, because reports write a row many times.
        # An id is never reused: workers may hold it even after its study was deleted.
        {"postgresql_with": {"fillfactor": 80}, "sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    number: Mapped[int]
    params: Mapped[dict[str, Any]]
    config_hash: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int]
    origin: Mapped[str] = mapped_column(String(32))
    position: Mapped[int | None]
    """The sampler's position of the proposal."""
    batch: Mapped[int | None]
    """The position of the first proposal in the same batch."""
    saw: Mapped[int | None] = mapped_column(BigInteger)
    """The id of the study's last event that the sampler had read."""
    sampler_version: Mapped[int | None]
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    """The version of the space that it was proposed in."""
    member: Mapped[int | None]
    """The member of the population; the trial is a segment of its training."""
    parent: Mapped[int | None]
    """The number of the trial from whose checkpoint it continues."""
    until: Mapped[int | None] = mapped_column(BigInteger)
    """The number of steps, counted from step 0, after which the trial ends; None: all steps of the study."""
    rank: Mapped[int]
    """0: requested by a user or retried, 1: proposed; lower ranks are leased first."""
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(default=0)
    """The fencing token: each claim raises it, and every later write carries it."""
    attempt_open: Mapped[bool] = mapped_column(default=False)
    """True until the worker ends the attempt; an expired lease leaves it True, so that a late result is accepted."""
    worker: Mapped[str | None] = mapped_column(String(100))
    lease_deadline: Mapped[datetime | None]
    request_id: Mapped[str | None] = mapped_column(String(100))
    stop: Mapped[str | None] = mapped_column(String(16))
    stop_message: Mapped[str] = mapped_column(default="")
    value: Mapped[float | None]
    """The result of the whole curve, set when an attempt ends with a result."""
    interim_value: Mapped[float | None]
    """The best value reported so far."""
    best_step: Mapped[int | None] = mapped_column(BigInteger)
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, float]] = mapped_column(MetricValues)
    failure: Mapped[str | None] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(default="")
    exception: Mapped[str | None]
    failures: Mapped[dict[str, Any]]
    """Number of attempts that each kind of failure has ended."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]


IS_TRIAL = TrialRow.number > PREFLIGHT_NUMBER
"""Excludes a study's preflight, which is leased like a trial, but does not count as one."""


class AttemptRow(Table):
    """One execution of a trial."""

    __tablename__ = "attempts"

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    worker: Mapped[str] = mapped_column(String(100))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(32))
    message: Mapped[str] = mapped_column(default="")
    log_tail: Mapped[str] = mapped_column(default="")
    request: Mapped[str | None]
    """The body that ended it, to recognise a repeated request."""
    answer: Mapped[str | None]
    """The response to that body, sent again to a repeated request."""


class ReportRow(Table):
    """Metrics at one step of one attempt."""

    __tablename__ = "reports"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, float]] = mapped_column(MetricValues)


class WorkerRow(Table):
    """A worker, with the facts that it sent last."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    facts: Mapped[dict[str, Any]]
    first_seen_at: Mapped[datetime]
    last_beat_at: Mapped[datetime]
    asks: Mapped[int] = mapped_column(default=0, server_default="0")
    """Number of slots for which it waits for a trial."""
    asks_study: Mapped[str | None] = mapped_column(String(100))
    """The only study from which it waits for trials; None: any."""
    asks_until: Mapped[datetime | None]
    """The time at which its wait ends."""


class BlobRow(Table):
    """A stored content, addressed by its hash."""

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    touched_at: Mapped[datetime]
    """The last time it was stored; a young blob is not deleted even if nothing refers to it yet."""


class ArtifactRow(Table):
    """A file of a trial."""

    __tablename__ = "artifacts"

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    attempt: Mapped[int]
    created_at: Mapped[datetime]


class EventRow(Table):
    """Something that happened in a study."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_stream", "study_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(32))
    trial: Mapped[int | None]
    at: Mapped[datetime]
    data: Mapped[dict[str, Any]]


class MasterRow(Table):
    """Facts of the master: one row."""

    __tablename__ = "master"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    last_sweep_at: Mapped[datetime | None]

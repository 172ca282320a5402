"""Frozen values that storage returns, with enums and parsed specs where the tables have text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Row

from tunefleet.names import TrialId
from tunefleet.protocol import Failure, PreflightState, StopReason, StudyState, TrialState
from tunefleet.protocol.preflight import PREFLIGHT_NUMBER
from tunefleet.study import stages
from tunefleet.study.space import Configuration
from tunefleet.study.spec import Budget, StudySpec


@dataclass(frozen=True, slots=True)
class Study:
    """The current state of a study."""

    id: int
    name: str
    spec: StudySpec
    state: StudyState
    message: str
    priority: int
    budget: Budget
    sampler: str
    sampler_reason: str
    n_created: int
    position: int
    exhausted: bool
    created_at: datetime
    started_at: datetime
    finished_at: datetime | None
    run_s: float
    version: int
    """The version of the space; raised with each change."""
    stage: int
    """The stage of the coarse-to-fine plan, from 0."""
    box: str
    """The parameters that the stage has narrowed, as JSON."""
    searched: StudySpec
    """The spec with the space that is searched now: the user's space, or the box of the stage."""
    preflight: PreflightState | None
    """The state of the preflight; None without a preflight."""
    preflight_report: str | None
    """The result of the preflight, as JSON."""

    @property
    def is_checked(self) -> bool:
        """True if trials may be claimed, that is, if no preflight is pending."""
        return self.preflight is not PreflightState.PENDING

    @property
    def folds(self) -> int:
        """Trials per configuration: one for each fold."""
        return self.spec.data.folds

    @property
    def n_configurations(self) -> int:
        """The number of configurations created."""
        return self.n_created // self.folds

    @property
    def stage_left(self) -> int | None:
        """The number of configurations that the stage may still create; None in the last stage."""
        ends = stages.ends(self.spec)[:-1]
        return max(0, ends[self.stage] - self.n_configurations) if self.stage < len(ends) else None

    def elapsed_s(self, now: datetime) -> float:
        """Seconds that the study has run, without pauses and its preflight."""
        if not self.is_checked:
            return 0.0
        if self.state is StudyState.RUNNING:
            return self.run_s + (now - self.started_at).total_seconds()
        return self.run_s

    @property
    def trials_left(self) -> int | None:
        """The number of configurations that the study may still create; None without a limit."""
        return None if self.budget.trials is None else max(0, self.budget.trials - self.n_configurations)


@dataclass(frozen=True, slots=True)
class Trial:
    """The current state of a trial."""

    id: TrialId
    study_id: int
    study: str
    number: int
    params: Configuration
    seed: int
    origin: str
    version: int
    """The version of the study's space that it was proposed in."""
    member: int | None
    """The member of the population; the trial is a segment of its training."""
    parent: int | None
    """The number of the trial from whose checkpoint this one continues."""
    until: int | None
    """The number of steps, counted from step 0, after which the trial ends; None: all steps of the study."""
    state: TrialState
    attempt: int
    attempt_open: bool
    worker: str | None
    stop: StopReason | None
    stop_message: str
    value: float | None
    """While it runs, the best value reported so far; after its end, the result of the whole curve."""
    best_step: int | None
    last_step: int | None
    metrics: Mapping[str, float]
    failure: Failure | None
    message: str
    failures: Mapping[Failure, int]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_preflight(self) -> bool:
        """True for the preflight, which is leased like a trial but does not count as one."""
        return self.number == PREFLIGHT_NUMBER


@dataclass(frozen=True, slots=True)
class NewTrial:
    """A trial to be stored."""

    number: int
    params: Configuration
    config_hash: str
    seed: int
    origin: str
    position: int | None
    """The sampler's position of the proposal; None for a trial that a user requested."""
    version: int
    """The version of the space that it was proposed in."""
    batch: int | None = None
    """The position of the first proposal in the same batch."""
    saw: int | None = None
    """The id of the study's last event that the sampler had read; None for a sampler that does not learn."""
    sampler_version: int | None = None
    member: int | None = None
    parent: int | None = None
    until: int | None = None


@lru_cache(maxsize=1_000)
def _spec(text: str) -> StudySpec:
    """Parse a spec. Cached, because parsing costs about as much as a whole claim, and every claim needs a spec."""
    return StudySpec.model_validate_json(text)


@lru_cache(maxsize=1_000)
def _searched(text: str, box: str) -> StudySpec:
    narrowed = json.loads(box)
    plain = json.loads(text)
    return StudySpec.parse({**plain, "space": {**plain["space"], **narrowed}}) if narrowed else _spec(text)


def study_of(row: Row[*tuple[Any, ...]]) -> Study:
    """Convert a row of `StudyRow`'s columns."""
    return Study(
        id=row.id,
        name=row.name,
        spec=_spec(row.spec),
        state=StudyState(row.state),
        message=row.message,
        priority=row.priority,
        budget=Budget(trials=row.budget_trials, hours=row.budget_hours),
        sampler=row.sampler,
        sampler_reason=row.sampler_reason,
        n_created=row.n_created,
        position=row.position,
        exhausted=row.exhausted,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        run_s=row.run_s,
        version=row.version,
        stage=row.stage,
        box=row.box,
        searched=_searched(row.spec, row.box),
        preflight=PreflightState(row.preflight) if row.preflight else None,
        preflight_report=row.preflight_report,
    )


def trial_of(row: Row[*tuple[Any, ...]], study: str) -> Trial:
    """Convert a row of `TrialRow`'s columns, given the name of its study."""
    return Trial(
        id=TrialId(row.id),
        study_id=row.study_id,
        study=study,
        number=row.number,
        params=row.params,
        seed=row.seed,
        origin=row.origin,
        version=row.version,
        member=row.member,
        parent=row.parent,
        until=row.until,
        state=TrialState(row.state),
        attempt=row.attempt,
        attempt_open=row.attempt_open,
        worker=row.worker,
        stop=StopReason(row.stop) if row.stop else None,
        stop_message=row.stop_message,
        value=row.interim_value if row.value is None else row.value,
        best_step=row.best_step,
        last_step=row.last_step,
        metrics=row.metrics,
        failure=Failure(row.failure) if row.failure else None,
        message=row.message,
        failures={Failure(kind): n for kind, n in row.failures.items()},
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def canonical(spec: StudySpec) -> str:
    """The canonical text of the spec; two texts are equal if and only if their specs are equal."""
    return json.dumps(spec.to_json(), sort_keys=True, separators=(",", ":"))

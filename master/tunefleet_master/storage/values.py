"""What leaves storage: frozen values, with enums and parsed specs where the tables have text."""

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
    """A study as it stands."""

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
    """Of its space; raised with each change."""
    stage: int
    """Of its coarse-to-fine plan, from 0."""
    box: str
    """The parameters that the stage has narrowed, as JSON."""
    searched: StudySpec
    """The spec with the space that is searched now: the user's own, or the box of the stage."""
    preflight: PreflightState | None
    """What has become of its preflight; None: it has none."""
    preflight_report: str | None
    """What the preflight found, as JSON."""

    @property
    def is_checked(self) -> bool:
        """Whether its trials may be given out; not while its preflight has not ended."""
        return self.preflight is not PreflightState.PENDING

    @property
    def folds(self) -> int:
        """How many trials a configuration is: one for each fold."""
        return self.spec.data.folds

    @property
    def n_configurations(self) -> int:
        """How many configurations have been created."""
        return self.n_created // self.folds

    @property
    def stage_left(self) -> int | None:
        """How many configurations of the stage may still be created; None where no other stage follows."""
        ends = stages.ends(self.spec)[:-1]
        return max(0, ends[self.stage] - self.n_configurations) if self.stage < len(ends) else None

    def elapsed_s(self, now: datetime) -> float:
        """Seconds that the study has run, pauses and its preflight left out."""
        if not self.is_checked:
            return 0.0
        if self.state is StudyState.RUNNING:
            return self.run_s + (now - self.started_at).total_seconds()
        return self.run_s

    @property
    def trials_left(self) -> int | None:
        """How many configurations may still be created; None without a limit."""
        return None if self.budget.trials is None else max(0, self.budget.trials - self.n_configurations)


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial as it stands."""

    id: TrialId
    study_id: int
    study: str
    number: int
    params: Configuration
    seed: int
    origin: str
    version: int
    """Of the study's space that it belongs to."""
    member: int | None
    """Of the population, whose training this is a segment of."""
    parent: int | None
    """The number of the trial from whose checkpoint it goes on."""
    until: int | None
    """How many steps have been run when it ends; None: all of the study."""
    state: TrialState
    attempt: int
    attempt_open: bool
    worker: str | None
    stop: StopReason | None
    stop_message: str
    value: float | None
    """The best so far while it runs; what the whole curve says once it has ended."""
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
        """Whether it is no trial of the study, but the check of its pipeline before them."""
        return self.number == PREFLIGHT_NUMBER


@dataclass(frozen=True, slots=True)
class NewTrial:
    """A trial that is about to be stored."""

    number: int
    params: Configuration
    config_hash: str
    seed: int
    origin: str
    position: int | None
    """The sampler's position that it was proposed at; None: it was asked for by hand."""
    version: int
    """Of the space that it belongs to."""
    batch: int | None = None
    """The position of the first of those that were proposed together."""
    saw: int | None = None
    """The study's last event that the sampler knew of; None for one that does not learn."""
    sampler_version: int | None = None
    member: int | None = None
    parent: int | None = None
    until: int | None = None


@lru_cache(maxsize=1_000)
def _spec(text: str) -> StudySpec:
    """Parsing a spec costs about as much as a whole claim, and every claim needs one."""
    return StudySpec.model_validate_json(text)


@lru_cache(maxsize=1_000)
def _searched(text: str, box: str) -> StudySpec:
    narrowed = json.loads(box)
    plain = json.loads(text)
    return StudySpec.parse({**plain, "space": {**plain["space"], **narrowed}}) if narrowed else _spec(text)


def study_of(row: Row[*tuple[Any, ...]]) -> Study:
    """A row of `StudyRow`'s columns as a value."""
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
    """A row of `TrialRow`'s columns, with the name of its study, as a value."""
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
    """The spec as one text; equal specs, and only they, have equal texts."""
    return json.dumps(spec.to_json(), sort_keys=True, separators=(",", ":"))

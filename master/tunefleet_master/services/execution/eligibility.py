"""Why no worker takes a study's trials: what the study needs against what the workers say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Self

from sqlalchemy import Row

from tunefleet.protocol import StudyState, TrialState, WorkerFacts
from tunefleet.study.durations import spoken
from tunefleet.study.spec import StudySpec, TaskRun
from tunefleet_master.storage import workers
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

SEEN_WITHIN = timedelta(days=1)  # a worker that was silent for longer helps nobody to understand
FIRST_LOOK = 50  # workers: nearly always one of them takes the trials, and the others need not be read
MAX_WORKERS = 5_000
MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a study asks of a worker."""

    study: str
    gpus: int
    labels: frozenset[str]
    runs_code: bool
    checks: bool = False
    """Whether its preflight is what comes next."""

    @classmethod
    def of(cls, spec: StudySpec) -> Self:
        """The needs of a study."""
        wanted = spec.resources
        return cls(spec.name, wanted.gpus, frozenset(wanted.labels), not isinstance(spec.run, TaskRun))


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker as somebody who may take trials; `rests_s` is how long it rests still, None when it does not."""

    name: str
    facts: WorkerFacts
    silent_s: float
    is_alive: bool
    rests_s: float | None

    @classmethod
    def of(cls, row: Row[*tuple[Any, ...]], *, now: datetime, lease_s: float) -> Self:
        """A stored worker at a time; it is alive while its last beat is younger than a lease."""
        facts = WorkerFacts.model_validate(row.facts)
        silent_s = (now - row.last_beat_at).total_seconds()
        rests_s = None if facts.resting_s is None else facts.resting_s - silent_s
        rests_s = rests_s if rests_s is not None and rests_s > 0 else None
        return cls(row.name, facts, silent_s, silent_s < lease_s, rests_s)


def why_unclaimed(needs: Requirements, workers: Sequence[WorkerStatus]) -> str:
    """Why none of the workers takes trials of the study, in words; empty when one does. Pure."""
    alive = [worker for worker in workers if worker.is_alive and not worker.facts.is_leaving]
    if not alive:
        return _nobody(workers)
    left, asked = alive, []
    for what, suits in _requirements(needs):
        suitable = [worker for worker in left if suits(worker.facts)]
        if len(suitable) < len(left):
            asked.append(what)
        if not suitable:
            count = "the one that is alive does not" if len(alive) == 1 else f"none of the {len(alive)} alive does"
            return f"it needs a worker that {' and '.join(asked)}; {count}"
        left = suitable
    if any(worker.rests_s is None for worker in left):
        return ""
    return "; ".join(_rest_of(worker) for worker in sorted(left, key=lambda worker: worker.rests_s or 0.0)[:MAX_NAMED])


class Fleet:
    """The workers as one request sees them, read when somebody asks and no more than are needed."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def why_unclaimed(self, study: Study, counts: Mapping[TrialState, int]) -> str:
        """Why nobody takes the study's trials; empty when somebody does, or it has none to give."""
        may_give = counts.get(TrialState.WAITING, 0) or (study.trials_left != 0 and not study.exhausted)
        if study.state is not StudyState.RUNNING or not may_give:
            return ""
        needs = replace(Requirements.of(study.spec), checks=not study.is_checked)
        return why_unclaimed(needs, self._first) and why_unclaimed(needs, self._all)

    @cached_property
    def _first(self) -> list[WorkerStatus]:
        return self._read(timedelta(seconds=self._uow.lease_s), limit=FIRST_LOOK)

    @cached_property
    def _all(self) -> list[WorkerStatus]:
        return self._read(SEEN_WITHIN, limit=MAX_WORKERS)

    def _read(self, within: timedelta, *, limit: int) -> list[WorkerStatus]:
        now = self._uow.now
        rows = workers.all_since(self._uow.connection, now - within, limit=limit)
        return [WorkerStatus.of(row, now=now, lease_s=self._uow.lease_s) for row in rows]


def _requirements(needs: Requirements) -> Iterable[tuple[str, Callable[[WorkerFacts], bool]]]:
    """What is asked of a worker, in words and as a test, the most common obstacle last."""
    yield "may take its trials (--study)", lambda facts: facts.study in (None, needs.study)
    yield "runs submitted code (--allow-code)", lambda facts: facts.allow_code or not needs.runs_code
    yield "knows how to run a preflight", lambda facts: facts.preflight or not needs.checks
    gpus = f"has {needs.gpus} GPU{'s' if needs.gpus != 1 else ''} in a slot"
    yield gpus, lambda facts: facts.gpus_per_slot >= needs.gpus
    for label in sorted(needs.labels):
        yield f"has the label {label}", _has(label)


def _has(label: str) -> Callable[[WorkerFacts], bool]:
    return lambda facts: label in facts.labels


def _nobody(workers: Sequence[WorkerStatus]) -> str:
    text = "no worker is alive"
    if workers:
        last = min(workers, key=lambda worker: worker.silent_s)
        verb = "left" if last.facts.is_leaving else "was heard last,"
        text += f" ({last.name} {verb} {spoken(last.silent_s)} ago)"
    return f"{text}; start one: tunefleet-worker run URL"


def _rest_of(worker: WorkerStatus) -> str:
    return f"worker {worker.name} rests for {spoken(worker.rests_s or 0.0)} more ({worker.facts.status})"

"""Rules that decide which workers may take which trials, and explanations of why no worker takes a study's trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self

from tunefleet.protocol import StudyState, TrialState, WorkerFacts
from tunefleet.study.durations import spoken
from tunefleet.study.spec import StudySpec, TaskRun
from tunefleet_master.storage import workers
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study
from tunefleet_master.storage.workers import Worker

SEEN_WITHIN = timedelta(days=1)  # a worker that has been silent for longer explains nothing
FIRST_READ = 50  # workers; nearly always one of them is eligible, and the others need not be read
MAX_WORKERS = 5_000
MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Requirements:
    """The requirements of a study on workers.

    Attributes:
        study: its name.
        gpus: in each slot.
        labels: that a worker must have.
        runs_code: its trials run submitted code.
        is_checked: no preflight comes before its trials.
    """

    study: str
    gpus: int
    labels: frozenset[str]
    runs_code: bool
    is_checked: bool = True

    @classmethod
    def of(cls, spec: StudySpec, *, is_checked: bool = True) -> Self:
        """Return the requirements of a study."""
        resources = spec.resources
        runs_code = not isinstance(spec.run, TaskRun)
        return cls(spec.name, resources.gpus, frozenset(resources.labels), runs_code, is_checked)


@dataclass(frozen=True, slots=True)
class Offer:
    """The facts that decide which trials a worker may take; workers with equal offers may take the same ones.

    Attributes:
        study: the only study that the worker serves; None: it serves all.
        allow_code: it runs submitted code.
        preflight: it can run a preflight.
        gpus_per_slot: GPUs in each of its slots.
        labels: its labels.
    """

    study: str | None
    allow_code: bool
    preflight: bool
    gpus_per_slot: int
    labels: frozenset[str]

    @classmethod
    def of(cls, facts: WorkerFacts, *, study: str | None) -> Self:
        """Return the offer of a worker that serves this study only; None: all studies."""
        return cls(study, facts.allow_code, facts.preflight, facts.gpus_per_slot, frozenset(facts.labels))


@dataclass(frozen=True, slots=True)
class Rule:
    """A fact that a worker must offer.

    Attributes:
        words: complete the sentence "it needs a worker that ...".
        is_met: whether an offer meets the requirements in this fact.
    """

    words: Callable[[Requirements], str]
    is_met: Callable[[Requirements, Offer], bool]


# The most common obstacle comes last: explanations name the rules in this order, until no worker is left.
_RULES = (
    Rule(lambda needs: "may take its trials (--study)", lambda needs, offer: offer.study in (None, needs.study)),
    Rule(
        lambda needs: "runs submitted code (--allow-code)",
        lambda needs, offer: offer.allow_code or not needs.runs_code,
    ),
    Rule(lambda needs: "knows how to run a preflight", lambda needs, offer: offer.preflight or needs.is_checked),
    Rule(
        lambda needs: f"has {needs.gpus} GPU{'s' if needs.gpus != 1 else ''} in a slot",
        lambda needs, offer: offer.gpus_per_slot >= needs.gpus,
    ),
)


def _label_rule(label: str) -> Rule:
    return Rule(lambda needs: f"has the label {label}", lambda needs, offer: label in offer.labels)


def rules_for(needs: Requirements) -> tuple[Rule, ...]:
    """Return all rules that a worker must meet; each label is a rule of its own."""
    return (*_RULES, *map(_label_rule, sorted(needs.labels)))


def may_take(study: Study, offer: Offer) -> bool:
    """Return whether a worker with this offer may take the study's next trial, which may be its preflight."""
    needs = Requirements.of(study.spec, is_checked=study.is_checked)
    return all(rule.is_met(needs, offer) for rule in rules_for(needs))


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker at a point in time.

    Attributes:
        name: its name.
        facts: from its last heartbeat.
        silent_s: seconds since its last heartbeat.
        is_alive: its last heartbeat is younger than a lease.
        rests_s: seconds until it claims again; None: it does not rest.
    """

    name: str
    facts: WorkerFacts
    silent_s: float
    is_alive: bool
    rests_s: float | None

    @classmethod
    def of(cls, worker: Worker, *, now: datetime, lease_s: float) -> Self:
        """Return the status of a stored worker."""
        silent_s = (now - worker.last_beat_at).total_seconds()
        rests_s = None if worker.facts.resting_s is None else worker.facts.resting_s - silent_s
        rests_s = rests_s if rests_s is not None and rests_s > 0 else None
        return cls(worker.name, worker.facts, silent_s, silent_s < lease_s, rests_s)


def why_unclaimed(needs: Requirements, workers: Sequence[WorkerStatus]) -> str:
    """Return why none of the workers takes trials of the study, in words; empty when one does. Pure."""
    alive = [worker for worker in workers if worker.is_alive and not worker.facts.is_leaving]
    if not alive:
        return _no_worker_alive(workers)
    left, failed = alive, []
    offers = {worker.name: Offer.of(worker.facts, study=worker.facts.study) for worker in alive}
    for rule in rules_for(needs):
        eligible = [worker for worker in left if rule.is_met(needs, offers[worker.name])]
        if len(eligible) < len(left):
            failed.append(rule.words(needs))
        if not eligible:
            count = "the one that is alive does not" if len(alive) == 1 else f"none of the {len(alive)} alive does"
            return f"it needs a worker that {' and '.join(failed)}; {count}"
        left = eligible
    if any(worker.rests_s is None for worker in left):
        return ""
    by_end_of_rest = sorted(left, key=lambda worker: worker.rests_s or 0.0)
    return "; ".join(_describe_rest(worker) for worker in by_end_of_rest[:MAX_NAMED])


class Fleet:
    """The workers as one request sees them; they are read on first use, and no more than needed."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def why_unclaimed(self, study: Study, counts: Mapping[TrialState, int]) -> str:
        """Return why no worker takes the study's trials; empty when one does, or when the study has none to give."""
        has_trials = counts.get(TrialState.WAITING, 0) or (study.trials_left != 0 and not study.exhausted)
        if study.state is not StudyState.RUNNING or not has_trials:
            return ""
        needs = Requirements.of(study.spec, is_checked=study.is_checked)
        return why_unclaimed(needs, self._first) and why_unclaimed(needs, self._all)

    @cached_property
    def _first(self) -> list[WorkerStatus]:
        return self._read(timedelta(seconds=self._uow.lease_s), limit=FIRST_READ)

    @cached_property
    def _all(self) -> list[WorkerStatus]:
        return self._read(SEEN_WITHIN, limit=MAX_WORKERS)

    def _read(self, within: timedelta, *, limit: int) -> list[WorkerStatus]:
        now = self._uow.now
        found = workers.all_since(self._uow.connection, now - within, limit=limit)
        return [WorkerStatus.of(worker, now=now, lease_s=self._uow.lease_s) for worker in found]


def _no_worker_alive(workers: Sequence[WorkerStatus]) -> str:
    text = "no worker is alive"
    if workers:
        last = min(workers, key=lambda worker: worker.silent_s)
        verb = "left" if last.facts.is_leaving else "was heard last,"
        text += f" ({last.name} {verb} {spoken(last.silent_s)} ago)"
    return f"{text}; start one: tunefleet-worker run URL"


def _describe_rest(worker: WorkerStatus) -> str:
    return f"worker {worker.name} rests for {spoken(worker.rests_s or 0.0)} more ({worker.facts.status})"

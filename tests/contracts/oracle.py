"""A second master, naive on purpose: dictionaries in place of a database, one caller at a time, nothing ever lost.

Its calls answer, or raise, as the real ones must; what it holds after a call is what the database must hold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tunefleet.errors import AttemptEnded, BudgetTaken, Conflict, IllegalTransition, InvalidInput, LeaseLost, NotFound
from tunefleet.protocol import (
    MAX_STEP,
    ClaimRequest,
    CompleteRequest,
    Directive,
    EndResponse,
    FailRequest,
    Failure,
    HeartbeatRequest,
    Lease,
    ReleaseRequest,
    ReportBatch,
    StopReason,
    StudyPatch,
    StudyState,
    TrialState,
)
from tunefleet.study.spec import StudySpec

LEASE = timedelta(seconds=60)
LIVE = (TrialState.WAITING, TrialState.RUNNING)
ENDS_AS_ORDERED = {
    StopReason.DIVERGED: (TrialState.FAILED, Failure.DIVERGED),
    StopReason.CANCELLED: (TrialState.CANCELLED, None),
}
STUDY_ARROWS = {
    StudyState.RUNNING: (StudyState.PAUSED, StudyState.STOPPED),
    StudyState.PAUSED: (StudyState.RUNNING, StudyState.STOPPED),
    StudyState.COMPLETE: (StudyState.RUNNING, StudyState.STOPPED),
    StudyState.STOPPED: (),
}

EndRequest = CompleteRequest | FailRequest | ReleaseRequest
Reports = dict[tuple[int, int], tuple[int, Mapping[str, float]]]
"""By attempt and step: the report's number and its metrics."""


@dataclass
class Trial:
    """The oracle's state of a trial."""

    id: int
    study: Study
    number: int
    is_by_hand: bool = False
    state: TrialState = TrialState.WAITING
    attempt: int = 0
    attempt_open: bool = False
    worker: str | None = None
    request_id: str | None = None
    deadline: datetime | None = None
    stop: StopReason | None = None
    failure: Failure | None = None
    failures: Counter[Failure] = field(default_factory=Counter)
    last_step: int | None = None
    reports: Reports = field(default_factory=dict)
    endings: dict[int, tuple[EndRequest, EndResponse]] = field(default_factory=dict)

    def is_held_by(self, attempt: int) -> bool:
        return self.attempt == attempt and self.attempt_open and self.state in LIVE

    def keep(self, now: datetime) -> None:
        self.state, self.deadline = TrialState.RUNNING, now + LEASE


@dataclass
class Study:
    """The oracle's state of a study; `size` is the number of configurations, None for more than enough."""

    spec: StudySpec
    budget: int
    size: int | None
    state: StudyState = StudyState.RUNNING
    position: int = 0
    exhausted: bool = False
    trials: list[Trial] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.budget - len(self.trials)

    def settle(self) -> None:
        """Complete the study when nothing is left to do."""
        is_spent = self.left == 0 or self.exhausted
        is_done = is_spent and not any(trial.state in LIVE for trial in self.trials)
        if is_done and self.state in (StudyState.RUNNING, StudyState.PAUSED):
            self.state = StudyState.COMPLETE


class Oracle:
    """A model of the master; it gets the same calls."""

    def __init__(self) -> None:
        self.studies: dict[str, Study] = {}
        self.trials: dict[int, Trial] = {}
        self.last_sweep: datetime | None = None

    def submit(self, spec: StudySpec, size: int | None) -> None:
        assert spec.budget.trials is not None
        self.studies[spec.name] = Study(spec, spec.budget.trials, size)

    def enqueue(self, name: str, position: int, n: int) -> int:
        """Return how many trials a planner's batch of `n` creates that was drawn at this position."""
        study = self.studies[name]
        if study.position != position or study.state is not StudyState.RUNNING:
            return 0
        found = n if study.size is None else min(n, study.size - position)
        taken = min(found, study.left)
        study.position += taken  # proposals beyond the budget are drawn again
        study.exhausted = found < n and taken == found
        return taken

    def add(self, name: str) -> bool:
        """Add a configuration by hand; return True for a new trial, False for a replaced one."""
        study = self._open(name)
        if study.left:
            return True
        for trial in reversed(study.trials):
            if trial.state is TrialState.WAITING and trial.attempt == 0 and not trial.is_by_hand:
                trial.is_by_hand = True
                return False
        raise BudgetTaken("")

    def adopt(self, found: Iterable[tuple[int, str, int]], *, is_by_hand: bool = False) -> None:
        """Add new trials: id, study and number."""
        for trial_id, name, number in found:
            study = self.studies[name]
            trial = Trial(trial_id, study, number, is_by_hand)
            self.trials[trial_id] = trial
            study.trials.append(trial)

    def claim(self, leases: Sequence[Lease], now: datetime, request: ClaimRequest) -> None:
        """Check the leases of a claim, and record them."""
        again = [
            trial
            for trial in self.trials.values()
            if request.request_id is not None
            and (trial.request_id, trial.worker) == (request.request_id, request.worker)
            and (trial.state is TrialState.RUNNING and trial.attempt_open)
        ]
        given = {lease.trial_id: lease.attempt for lease in leases}
        assert len(given) == len(leases), "one claim gave a trial twice"
        if again:
            assert given == {trial.id: trial.attempt for trial in again}
            return
        free = {
            trial.id
            for trial in self.trials.values()
            if trial.state is TrialState.WAITING and trial.study.state is StudyState.RUNNING
        }
        assert given.keys() <= free, "a claim gave what was not waiting"
        assert len(given) == min(request.slots, len(free)), "a claim left trials waiting"
        for lease in leases:
            trial = self.trials[lease.trial_id]
            assert lease.attempt == trial.attempt + 1, "attempts do not rise by one"
            trial.attempt, trial.attempt_open = lease.attempt, True
            trial.worker, trial.request_id = request.worker, request.request_id
            trial.stop = trial.failure = None
            trial.keep(now)

    def beat(self, request: HeartbeatRequest, now: datetime) -> tuple[set[int], dict[int, StopReason]]:
        """Return the lost trials, and those that must stop."""
        lost: set[int] = set()
        stop: dict[int, StopReason] = {}
        for lease in request.leases:
            trial = self.trials.get(lease.trial_id)
            if trial is None or trial.worker != request.worker or not trial.is_held_by(lease.attempt):
                lost.add(lease.trial_id)
                continue
            trial.keep(now)
            if trial.stop is not None:
                stop[trial.id] = trial.stop
        return lost, stop

    def report(self, trial_id: int, batch: ReportBatch, now: datetime) -> Trial:
        trial = self._hold(trial_id, batch.attempt)
        ordered, diverges = trial.stop, False
        for report in batch.reports:
            place = (batch.attempt, report.step)
            if place not in trial.reports or report.number > trial.reports[place][0]:
                trial.reports[place] = (report.number, report.metrics)
            diverges = diverges or not all(map(math.isfinite, report.metrics.values()))
            trial.last_step = max(report.step, trial.last_step or 0)
        trial.keep(now)
        if diverges and ordered is None:
            trial.stop = StopReason.DIVERGED
        return trial

    @staticmethod
    def directive(trial: Trial) -> Directive:
        return Directive(directive="stop" if trial.stop else "continue", reason=trial.stop)

    def end(self, trial_id: int, request: EndRequest) -> EndResponse:
        trial = self._find(trial_id)
        if request.attempt in trial.endings:
            first, answer = trial.endings[request.attempt]
            if (type(first), first) == (type(request), request):
                return answer
            raise AttemptEnded("") if trial.attempt == request.attempt else LeaseLost("")
        self._hold(trial_id, request.attempt)
        match request:
            case CompleteRequest():
                end = self._completed(trial, request)
            case FailRequest(failure=failure):
                end = self._failed(trial, failure)
            case ReleaseRequest(reason=reason):
                end = self._failed(trial, Failure(reason))
        self._move(trial, *end)
        trial.attempt_open = False
        answer = EndResponse(state=trial.state, failure=trial.failure, study_state=trial.study.state)
        trial.endings[request.attempt] = (request, answer)
        return answer

    def sweep(self, now: datetime, *, sweep_s: float) -> None:
        away = timedelta(0) if self.last_sweep is None else now - self.last_sweep
        self.last_sweep = now
        running = [trial for trial in self.trials.values() if trial.state is TrialState.RUNNING]
        for trial in running:
            assert trial.deadline is not None
            if away >= timedelta(seconds=3 * sweep_s):
                trial.deadline = now + LEASE
        for trial in running:
            if trial.deadline is not None and trial.deadline < now:
                self._move(trial, *self._failed(trial, Failure.LOST))

    def patch(self, name: str, change: StudyPatch) -> StudyState:
        study = self.studies[name]
        if change.budget is not None and change.budget.trials is not None:
            if study.state is StudyState.STOPPED:
                raise Conflict("")
            if change.budget.trials < len(study.trials):
                raise InvalidInput([])
            study.budget = change.budget.trials
            if study.state is StudyState.COMPLETE and study.left and not study.exhausted:
                study.state = StudyState.RUNNING
        if change.state is not None and change.state != study.state:
            if change.state not in STUDY_ARROWS[study.state]:
                raise IllegalTransition("")
            study.state = StudyState(change.state)
            if study.state is StudyState.STOPPED:
                self._cancel(study)
        study.settle()
        return study.state

    def retry(self, name: str, failures: Sequence[Failure] | None) -> list[int]:
        study = self._open(name)
        again = [
            trial
            for trial in study.trials
            if trial.state is TrialState.FAILED and (failures is None or trial.failure in failures)
        ]
        for trial in again:
            trial.state, trial.failure, trial.attempt_open = TrialState.WAITING, None, False
            trial.failures.clear()
        if again and study.state is StudyState.COMPLETE:
            study.state = StudyState.RUNNING
        return sorted(trial.number for trial in again)

    def delete(self, name: str) -> None:
        if self.studies[name].state in (StudyState.RUNNING, StudyState.PAUSED):
            raise Conflict("")
        for trial in self.studies.pop(name).trials:
            del self.trials[trial.id]

    def _open(self, name: str) -> Study:
        if self.studies[name].state is StudyState.STOPPED:
            raise Conflict("")
        return self.studies[name]

    def _find(self, trial_id: int) -> Trial:
        if trial_id not in self.trials:
            raise NotFound("")
        return self.trials[trial_id]

    def _hold(self, trial_id: int, attempt: int) -> Trial:
        trial = self._find(trial_id)
        if not trial.is_held_by(attempt):
            raise LeaseLost("")
        return trial

    def _completed(self, trial: Trial, request: CompleteRequest) -> tuple[TrialState, Failure | None]:
        reports = dict(trial.reports)
        if request.metrics:
            step = trial.last_step or 0
            known = curve_of(reports).get(step, {})
            reports[request.attempt, step] = (MAX_STEP, {**known, **request.metrics})
        curve = curve_of(reports)
        metric = trial.study.spec.objective.metric
        is_finite = all(math.isfinite(value) for metrics in curve.values() for value in metrics.values())
        is_measured = any(math.isfinite(metrics.get(metric, math.nan)) for metrics in curve.values())
        if trial.stop is None and is_finite and not is_measured:
            raise InvalidInput([])
        trial.reports = reports
        if trial.stop is not None or is_finite:
            trial.last_step = max(curve) if is_measured else trial.last_step
            return ENDS_AS_ORDERED[trial.stop] if trial.stop else (TrialState.COMPLETE, None)
        return self._failed(trial, Failure.DIVERGED)

    def _failed(self, trial: Trial, failure: Failure) -> tuple[TrialState, Failure | None]:
        counts, retry = trial.failures, trial.study.spec.retry
        counts[failure] += 1
        if trial.stop is not None:
            return ENDS_AS_ORDERED[trial.stop]
        if failure in (Failure.LOST, Failure.PREEMPTED):
            may_run = counts[Failure.LOST] + counts[Failure.PREEMPTED] <= retry.lost
            return (TrialState.WAITING, None) if may_run else (TrialState.FAILED, Failure.LOST)
        allowed = {Failure.ERROR: retry.error, Failure.OUT_OF_MEMORY: retry.out_of_memory}.get(failure, 0)
        crashes = sum(counts[kind] for kind in (Failure.ERROR, Failure.OUT_OF_MEMORY, Failure.TIMEOUT))
        may_run = counts[failure] <= allowed and crashes < 3
        return (TrialState.WAITING, None) if may_run else (TrialState.FAILED, failure)

    @staticmethod
    def _move(trial: Trial, state: TrialState, failure: Failure | None) -> None:
        trial.state, trial.failure, trial.deadline = state, failure, None
        trial.study.settle()

    @staticmethod
    def _cancel(study: Study) -> None:
        for trial in study.trials:
            if trial.state is TrialState.WAITING:
                trial.state = TrialState.CANCELLED
            elif trial.state is TrialState.RUNNING and trial.stop is None:
                trial.stop = StopReason.CANCELLED


def curve_of(reports: Reports) -> dict[int, Mapping[str, float]]:
    """Return the newest attempt's metrics at each step."""
    return {step: metrics for (_, step), (_, metrics) in sorted(reports.items(), key=lambda item: item[0][0])}

"""Ends of attempts: complete, fail, release.

The same request again gets the first answer; another one gets AttemptEnded.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from tunefleet.errors import AttemptEnded, InvalidInput, Problem, TunefleetError
from tunefleet.names import TrialId
from tunefleet.protocol import (
    MAX_STEP,
    CompleteRequest,
    EndResponse,
    FailRequest,
    Failure,
    Point,
    PreflightReport,
    ReleaseRequest,
    Report,
    StopReason,
    TrialState,
)
from tunefleet.study.spec import StudySpec
from tunefleet.study.stages import steps_of
from tunefleet_master.lifecycle import End, Verdict, end_of_completion
from tunefleet_master.services.execution.curves import finite, first_divergence, result_point
from tunefleet_master.services.execution.reports import refuse
from tunefleet_master.services.execution.transitions import end_attempt, verdict_of_failure
from tunefleet_master.storage import artifacts, attempts, leases, reports, studies, trials
from tunefleet_master.storage.attempts import Closing, Ending
from tunefleet_master.storage.leases import Fence
from tunefleet_master.storage.segments import CHECKPOINT
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial

Request = CompleteRequest | FailRequest | ReleaseRequest


@dataclass(frozen=True, slots=True)
class Ended:
    """What a worker says of the end of a trial's attempt."""

    trial_id: TrialId
    request: Request

    @property
    def fence(self) -> Fence:
        """The trial and the attempt that has ended."""
        return self.trial_id, self.request.attempt


@dataclass(frozen=True, slots=True)
class _Result:
    """What an attempt brought: the verdict on it, its trial as the whole curve shows it, and the final report."""

    verdict: Verdict
    trial: Trial
    final: Report | None = None
    value: float | None = None
    report: PreflightReport | None = None


def end(uow: UnitOfWork, ended: Sequence[Ended]) -> list[EndResponse | TunefleetError]:
    """End attempts: complete, fail, release.

    A trial that completed under an order to stop ends as ordered; one that failed or was given back is run again where
    the study's retry rules say so. An answer may be NotFound, LeaseLost, AttemptEnded, or InvalidInput when the
    objective's metric was never reported.
    """
    held = leases.held(uow.connection, {item.fence for item in ended})
    of_trials = studies.by_ids(uow.connection, {trial.study_id for trial in held.values()}) if held else {}
    completed = _completed(ended, held)
    curves = reports.curves(uow.connection, completed) if held else {}
    barren = _barren(uow, completed, held.values(), of_trials)
    answers: dict[int, EndResponse | TunefleetError] = {}
    closings: list[Closing] = []
    for i, item in enumerate(ended):
        trial = held.pop(item.fence, None)
        if trial is None:
            continue
        study = of_trials[trial.study_id]
        try:
            result = _result(trial, study, item.request, curve=curves.get(trial.id, []))
        except InvalidInput as error:
            answers[i] = error
            held[item.fence] = trial
            continue
        if trial.id in barren and result.verdict.end.state is TrialState.COMPLETE:
            result = _left_nothing(trial, study)
        answers[i], closing, of_trials[study.id] = _carry_out(uow, study, item.request, result)
        closings.append(closing)
    attempts.close(uow.connection, closings, now=uow.now)
    answers |= _repeated(uow, {i: item for i, item in enumerate(ended) if i not in answers})
    return [answers[i] for i in range(len(ended))]


def _completed(ended: Sequence[Ended], held: Mapping[Fence, Trial]) -> set[TrialId]:
    return {item.trial_id for item in ended if item.fence in held and isinstance(item.request, CompleteRequest)}


def _barren(
    uow: UnitOfWork, completed: Collection[TrialId], held: Collection[Trial], of_trials: Mapping[int, Study]
) -> set[TrialId]:
    """The completed segments that others should go on from, and that left no checkpoint."""
    segments = [trial for trial in held if trial.id in completed and trial.until is not None]
    due = {trial.id for trial in segments if trial.until != of_trials[trial.study_id].spec.steps}
    left = artifacts.of_trials(uow.connection, list(due), name=CHECKPOINT) if due else {}
    return {trial_id for trial_id in due if not left[trial_id]}


def _left_nothing(trial: Trial, study: Study) -> _Result:
    message = (
        f"it left no checkpoint behind its {trial.until} steps, from which population-based training goes on; pass "
        "what training changes to trial.epochs, such as trial.epochs(model=model, optimizer=optimizer)"
    )
    verdict = verdict_of_failure(trial, study, failure=Failure.ERROR, message=message, exception="no checkpoint")
    return _Result(verdict, trial)


def _repeated(uow: UnitOfWork, late: Mapping[int, Ended]) -> dict[int, EndResponse | TunefleetError]:
    """Answers to requests whose attempt is not open: the first one again, or why there is none."""
    if not late:
        return {}
    fences = [item.fence for item in late.values()]
    endings = attempts.endings(uow.connection, fences)
    known = trials.by_ids(uow.connection, {trial_id for trial_id, _ in fences})
    refusals = refuse(uow, fences)
    answers: dict[int, EndResponse | TunefleetError] = {}
    for i, item in late.items():
        ending = endings.get(item.fence)
        if ending is not None and ending.request == _key(item.request):
            answers[i] = EndResponse.model_validate_json(ending.answer)
        elif ending is not None and known[item.trial_id].attempt == item.request.attempt:
            answers[i] = AttemptEnded(
                f"attempt {item.request.attempt} of trial {item.trial_id} has ended already, with another request.",
                hint=f"It was: {ending.request[:200]}",
            )
        else:
            answers[i] = refusals[item.fence]
    return answers


def _result(trial: Trial, study: Study, request: Request, *, curve: Sequence[Point]) -> _Result:
    """What the request makes of the trial; changes nothing.

    Raises:
        InvalidInput: it completes, and the objective's metric was never reported.
    """
    match request:
        case CompleteRequest():
            if trial.is_preflight or request.preflight is not None:
                return _checked(trial, request)
            return _completion(trial, study, request, curve)
        case FailRequest(failure=failure, message=message):
            exception = request.exception if failure is Failure.ERROR else None
            verdict = verdict_of_failure(trial, study, failure=failure, message=message, exception=exception)
        case ReleaseRequest(reason=reason):
            message = f"given back by worker {trial.worker}: {reason}"
            verdict = verdict_of_failure(trial, study, failure=Failure(reason), message=message)
    return _Result(verdict, trial)


def _completion(trial: Trial, study: Study, request: CompleteRequest, curve: Sequence[Point]) -> _Result:
    """The value is taken from the whole curve: an interim one may stem from steps that a lost attempt took with it."""
    final = _final_report(trial, request, curve)
    if final is not None:
        last = Point(step=final.step, metrics=final.metrics)
        curve = sorted([*(point for point in curve if point.step != last.step), last], key=lambda point: point.step)
    if trial.stop is StopReason.PAUSED and _has_run_all(trial, study, curve):
        trial = replace(trial, stop=None)  # it came to its end before the order came to it
    divergence = first_divergence(curve)
    if trial.stop is None and divergence is not None:
        verdict = verdict_of_failure(trial, study, failure=Failure.DIVERGED, message=divergence)
        return _Result(verdict, trial, final)
    point = result_point(study.spec, curve)
    if point is not None:
        value = point.metrics[study.spec.objective.metric]
        trial = replace(
            trial, value=value, best_step=point.step, last_step=curve[-1].step, metrics=finite(point.metrics)
        )
    elif trial.stop in (None, StopReason.PRUNED):
        raise _never_reported(study.spec, curve)
    verdict = Verdict(end_of_completion(trial.stop), trial.stop_message, trial.failures)
    return _Result(verdict, trial, final, value=None if point is None else trial.value)


def _checked(trial: Trial, request: CompleteRequest) -> _Result:
    """A preflight that was carried out; one that found something has failed, and is not tried again by itself."""
    report = request.preflight
    if not trial.is_preflight:
        raise InvalidInput([Problem("preflight", "is for the study's preflight, and this is a trial")])
    if trial.stop is not None:
        return _Result(Verdict(end_of_completion(trial.stop), trial.stop_message, trial.failures), trial)
    if report is None:
        raise InvalidInput([Problem("preflight", "is required: a preflight completes with what it found")])
    end = End(TrialState.COMPLETE) if report.passed else End(TrialState.FAILED, Failure.INFEASIBLE)
    return _Result(Verdict(end, report.finding, trial.failures), trial, report=report)


def _has_run_all(trial: Trial, study: Study, curve: Sequence[Point]) -> bool:
    steps = steps_of(study.spec, trial.number)
    return steps is not None and bool(curve) and curve[-1].step + 1 >= steps


def _final_report(trial: Trial, request: CompleteRequest, curve: Sequence[Point]) -> Report | None:
    """The final metrics with those of the last step; they are the newest word on it."""
    if not request.metrics:
        return None
    step = trial.last_step or 0
    known = next((point.metrics for point in curve if point.step == step), {})
    return Report(step=step, metrics={**known, **request.metrics}, number=MAX_STEP)


def _never_reported(spec: StudySpec, curve: Sequence[Point]) -> InvalidInput:
    reported = ", ".join(sorted({name for point in curve for name in point.metrics})) or "nothing"
    if spec.several_objectives:
        rule = f"no report has all of {', '.join(spec.result_metrics)} together; reported was: {reported}"
    else:
        rule = f"the objective's metric {spec.objective.metric!r} was never reported; reported was: {reported}"
    return InvalidInput([Problem("metrics", rule)])


def _carry_out(uow: UnitOfWork, study: Study, request: Request, result: _Result) -> tuple[EndResponse, Closing, Study]:
    trial, verdict = result.trial, result.verdict
    if result.final is not None:
        reports.store(uow.connection, [(trial.id, trial.attempt, [result.final])])
    if trial.state is TrialState.WAITING:  # its lease had run out, and nobody took it
        leases.extend(uow.connection, [trial.id], deadline=uow.deadline)
        trial = replace(trial, state=TrialState.RUNNING)
    study = end_attempt(uow, trial, study, verdict=verdict, value=result.value, report=result.report)
    answer = EndResponse(state=verdict.end.state, failure=verdict.end.failure, study_state=study.state)
    closing = Closing(
        trial,
        outcome=_outcome(request, verdict),
        message=verdict.message,
        log_tail=request.log_tail if isinstance(request, FailRequest) else "",
        ending=Ending(_key(request), answer.model_dump_json()),
    )
    return answer, closing, study


def _outcome(request: Request, verdict: Verdict) -> str:
    """What the attempt's record says; a trial that waits again does not say how this attempt ended."""
    match request:
        case FailRequest(failure=failure):
            return str(failure)
        case ReleaseRequest(reason=reason):
            return reason
    return str(verdict.end.failure or verdict.end.state)


def _key(request: Request) -> str:
    """The request as one text; metrics in another order are the same ones."""
    return f"{type(request).__name__} {json.dumps(json.loads(request.model_dump_json()), sort_keys=True)}"

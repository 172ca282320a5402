"""Ending attempts: complete, fail, release.

The same request again gets the first answer; another one gets AttemptEnded.
"""

from __future__ import annotations

from typing import Any

from tunefleet.errors import AttemptEnded, InvalidInput, Problem
from tunefleet.names import TrialId
from tunefleet.protocol import (
    LARGEST_STEP,
    CompleteRequest,
    EndResponse,
    FailRequest,
    Failure,
    Point,
    ReleaseRequest,
    Report,
    StopReason,
)
from tunefleet_master.lifecycle import Verdict, end_of_completion
from tunefleet_master.services.reports import best_point, finite, first_divergence, hold
from tunefleet_master.services.transitions import (
    end_attempt,
    lease_lost,
    verdict_of_failure,
)
from tunefleet_master.storage import attempts, reports, studies, trials
from tunefleet_master.storage.attempts import Ending
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial

Request = CompleteRequest | FailRequest | ReleaseRequest


def complete(uow: UnitOfWork, trial_id: TrialId, request: CompleteRequest) -> EndResponse:
    """The attempt ran to its end; under an order to stop the trial ends as ordered.

    Raises:
        NotFound, LeaseLost, AttemptEnded. InvalidInput: the objective's metric was never reported.
    """
    if (answer := _earlier_answer(uow, trial_id, request)) is not None:
        return answer
    trial, study = _held(uow, trial_id, request.attempt)
    if request.metrics:
        _store_final(uow, trial, request)
    curve = reports.curve(uow.connection, trial.id)
    divergence = first_divergence(curve)
    if trial.stop is None and divergence is not None:
        verdict = verdict_of_failure(trial, study, failure=Failure.DIVERGED, message=divergence)
        return _end(uow, trial, study, request, verdict)
    _store_value(uow, trial, study, curve)
    verdict = Verdict(end_of_completion(trial.stop), trial.stop_message, trial.failures)
    return _end(uow, trials.get(uow.connection, trial.id), study, request, verdict)


def fail(uow: UnitOfWork, trial_id: TrialId, request: FailRequest) -> EndResponse:
    """The attempt failed; its trial is run again where the study's retry rules say so.

    Raises:
        NotFound, LeaseLost, AttemptEnded.
    """
    if (answer := _earlier_answer(uow, trial_id, request)) is not None:
        return answer
    trial, study = _held(uow, trial_id, request.attempt)
    exception = request.exception if request.failure is Failure.ERROR else None
    verdict = verdict_of_failure(trial, study, failure=request.failure, message=request.message, exception=exception)
    return _end(uow, trial, study, request, verdict, log_tail=request.log_tail)


def release(uow: UnitOfWork, trial_id: TrialId, request: ReleaseRequest) -> EndResponse:
    """The worker gives the trial back; another attempt goes on from its last checkpoint.

    Raises:
        NotFound, LeaseLost, AttemptEnded.
    """
    if (answer := _earlier_answer(uow, trial_id, request)) is not None:
        return answer
    trial, study = _held(uow, trial_id, request.attempt)
    message = f"given back by worker {trial.worker}: {request.reason}"
    verdict = verdict_of_failure(trial, study, failure=Failure(request.reason), message=message)
    return _end(uow, trial, study, request, verdict)


def _earlier_answer(uow: UnitOfWork, trial_id: TrialId, request: Request) -> EndResponse | None:
    ending = attempts.ending(uow.connection, trial_id, request.attempt)
    if ending is None:
        return None
    if ending.request == _key(request):
        return EndResponse.model_validate_json(ending.answer)
    trial = trials.get(uow.connection, trial_id)
    if trial.attempt != request.attempt:
        raise lease_lost(trial, request.attempt)
    raise AttemptEnded(
        f"attempt {request.attempt} of trial {trial_id} has ended already, with another request.",
        hint=f"It was: {ending.request[:200]}",
    )


def _held(uow: UnitOfWork, trial_id: TrialId, attempt: int) -> tuple[Trial, Study]:
    trial = hold(uow, trial_id, attempt)
    return trial, studies.by_id(uow.connection, trial.study_id)


def _store_final(uow: UnitOfWork, trial: Trial, request: CompleteRequest) -> None:
    """Add the final metrics to those of the last step; they are the newest word on it."""
    step = trial.last_step or 0
    known: dict[str, float] = {}
    for point in reports.curve(uow.connection, trial.id):
        if point.step == step:
            known = point.metrics
    final = Report(step=step, metrics={**known, **request.metrics}, number=LARGEST_STEP)
    reports.store(uow.connection, trial.id, trial.attempt, reports=[final])


def _store_value(uow: UnitOfWork, trial: Trial, study: Study, curve: list[Point]) -> None:
    """Set the trial's value from its whole curve.

    An interim value may stem from steps that a lost attempt took with it.
    """
    objective = study.spec.objective
    point = best_point(objective, curve)
    if point is not None:
        values: dict[str, Any] = {
            "value": point.metrics[objective.metric],
            "best_step": point.step,
            "last_step": curve[-1].step,
            "metrics": finite(point.metrics),
        }
        trials.note_progress(uow.connection, trial, values=values, now=uow.now)
    elif trial.stop in (None, StopReason.PRUNED):
        reported = ", ".join(sorted({name for p in curve for name in p.metrics})) or "nothing"
        rule = f"the objective's metric {objective.metric!r} was never reported; reported was: {reported}"
        raise InvalidInput([Problem("metrics", rule)])


def _end(
    uow: UnitOfWork,
    trial: Trial,
    study: Study,
    request: Request,
    verdict: Verdict,
    *,
    log_tail: str = "",
) -> EndResponse:
    study_state = end_attempt(uow, trial, study, verdict=verdict)
    answer = EndResponse(state=verdict.end.state, failure=verdict.end.failure, study_state=study_state)
    attempts.close(
        uow.connection,
        trial,
        outcome=_outcome(request, verdict),
        message=verdict.message,
        log_tail=log_tail,
        ending=Ending(_key(request), answer.model_dump_json()),
        now=uow.now,
    )
    return answer


def _outcome(request: Request, verdict: Verdict) -> str:
    """What the attempt's record says; a trial that waits again does not say how this attempt ended."""
    match request:
        case FailRequest(failure=failure):
            return str(failure)
        case ReleaseRequest(reason=reason):
            return reason
    return str(verdict.end.failure or verdict.end.state)


def _key(request: Request) -> str:
    return f"{type(request).__name__} {request.model_dump_json()}"

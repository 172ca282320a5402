"""The ends of attempts: complete, fail, release.

Requests are authorised, judged and applied, one pass each. A repeated request gets the first answer again; a different
request for an attempt that has ended gets AttemptEnded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
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
    """A worker's request to end an attempt of a trial."""

    trial_id: TrialId
    request: Request

    @property
    def fence(self) -> Fence:
        """The trial and the attempt that ends."""
        return self.trial_id, self.request.attempt


@dataclass(frozen=True, slots=True)
class _Authorised:
    """The data of those requests whose attempts hold their trials.

    Attributes:
        trials: the held trials by fence.
        studies: the studies of these trials by id.
        curves: the reports of trials that complete, oldest first.
        without_checkpoint: the segments that complete, that other segments continue, and that stored no checkpoint.
    """

    trials: Mapping[Fence, Trial]
    studies: Mapping[int, Study]
    curves: Mapping[TrialId, Sequence[Point]]
    without_checkpoint: Set[TrialId]


@dataclass(frozen=True, slots=True)
class _Result:
    """The result of an attempt: its verdict, its trial as the whole curve shows it, and the final report."""

    verdict: Verdict
    trial: Trial
    final: Report | None = None
    value: float | None = None
    report: PreflightReport | None = None


_Judgement = _Result | InvalidInput | None
"""The result of a request, the error in it, or None where its attempt is not open."""


def end(uow: UnitOfWork, ended: Sequence[Ended]) -> list[EndResponse | TunefleetError]:
    """End attempts: complete, fail, release.

    A trial that completes under a stop order ends as ordered. A trial that failed or was released runs again where the
    study's retry rules allow it. An answer may be NotFound, LeaseLost, AttemptEnded, or InvalidInput when the
    objective's metric was never reported.
    """
    authorised = _authorise(uow, ended)
    judgements = _judge(ended, authorised)
    return _apply(uow, ended, judgements, studies_by_id=authorised.studies)


def _authorise(uow: UnitOfWork, ended: Sequence[Ended]) -> _Authorised:
    """Lock the trials that the requests hold, and read what the judgement needs."""
    held = leases.held(uow.connection, {item.fence for item in ended})
    if not held:
        return _Authorised({}, {}, {}, frozenset())
    of_trials = studies.by_ids(uow.connection, {trial.study_id for trial in held.values()})
    complete = {item.fence for item in ended if item.fence in held and isinstance(item.request, CompleteRequest)}
    completed = [held[fence] for fence in complete]
    curves = reports.curves(uow.connection, {trial.id for trial in completed})
    return _Authorised(held, of_trials, curves, _without_checkpoint(uow, completed, of_trials))


def _without_checkpoint(uow: UnitOfWork, completed: Sequence[Trial], of_trials: Mapping[int, Study]) -> Set[TrialId]:
    segments = [trial for trial in completed if trial.until is not None]
    continued = {trial.id for trial in segments if trial.until != of_trials[trial.study_id].spec.steps}
    stored = artifacts.of_trials(uow.connection, list(continued), name=CHECKPOINT) if continued else {}
    return {trial_id for trial_id in continued if not stored[trial_id]}


def _judge(ended: Sequence[Ended], authorised: _Authorised) -> list[_Judgement]:
    """Judge each request; the first valid request of an attempt ends it, and later ones find it ended. Pure."""
    open_trials = dict(authorised.trials)
    judgements: list[_Judgement] = []
    for item in ended:
        trial = open_trials.get(item.fence)
        judgement = None if trial is None else _judge_one(trial, item.request, authorised)
        if isinstance(judgement, _Result):
            del open_trials[item.fence]
        judgements.append(judgement)
    return judgements


def _judge_one(trial: Trial, request: Request, authorised: _Authorised) -> _Result | InvalidInput:
    study = authorised.studies[trial.study_id]
    try:
        result = _result(trial, study, request, curve=authorised.curves.get(trial.id, []))
    except InvalidInput as error:
        return error
    if trial.id in authorised.without_checkpoint and result.verdict.end.state is TrialState.COMPLETE:
        return _failed_without_checkpoint(trial, study)
    return result


def _apply(
    uow: UnitOfWork,
    ended: Sequence[Ended],
    judgements: Sequence[_Judgement],
    *,
    studies_by_id: Mapping[int, Study],
) -> list[EndResponse | TunefleetError]:
    """Write the results, and answer every request in order."""
    newest = dict(studies_by_id)
    answers: dict[int, EndResponse | TunefleetError] = {}
    closings: list[Closing] = []
    for i, (item, judgement) in enumerate(zip(ended, judgements, strict=True)):
        if isinstance(judgement, InvalidInput):
            answers[i] = judgement
        elif judgement is not None:
            study = newest[judgement.trial.study_id]
            answers[i], closing, newest[study.id] = _apply_one(uow, study, item.request, judgement)
            closings.append(closing)
    attempts.close(uow.connection, closings, now=uow.now)
    answers |= _answer_late(uow, {i: item for i, item in enumerate(ended) if i not in answers})
    return [answers[i] for i in range(len(ended))]


def _apply_one(uow: UnitOfWork, study: Study, request: Request, result: _Result) -> tuple[EndResponse, Closing, Study]:
    trial, verdict = result.trial, result.verdict
    if result.final is not None:
        reports.store(uow.connection, [(trial.id, trial.attempt, [result.final])])
    if trial.state is TrialState.WAITING:  # its lease had expired, and no worker claimed it since
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


def _answer_late(uow: UnitOfWork, late: Mapping[int, Ended]) -> dict[int, EndResponse | TunefleetError]:
    """Answer requests for attempts that are not open: with the first answer again, or with an error."""
    if not late:
        return {}
    fences = [item.fence for item in late.values()]
    recorded = attempts.recorded_ends(uow.connection, fences)
    known = trials.by_ids(uow.connection, {trial_id for trial_id, _ in fences})
    refusals = refuse(uow, fences)
    answers: dict[int, EndResponse | TunefleetError] = {}
    for i, item in late.items():
        ending = recorded.get(item.fence)
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


def _failed_without_checkpoint(trial: Trial, study: Study) -> _Result:
    message = (
        f"it stored no checkpoint after its {trial.until} steps, and population-based training continues from there; "
        "pass what training changes to trial.epochs, such as trial.epochs(model=model, optimizer=optimizer)"
    )
    verdict = verdict_of_failure(trial, study, failure=Failure.ERROR, message=message, exception="no checkpoint")
    return _Result(verdict, trial)


def _result(trial: Trial, study: Study, request: Request, *, curve: Sequence[Point]) -> _Result:
    """Return the result of a request on a trial that it holds. Pure.

    Raises:
        InvalidInput: the trial completes, and the objective's metric was never reported.
    """
    match request:
        case CompleteRequest():
            if trial.is_preflight or request.preflight is not None:
                return _preflight_result(trial, request)
            return _complete_result(trial, study, request, curve)
        case FailRequest(failure=failure, message=message):
            exception = request.exception if failure is Failure.ERROR else None
            verdict = verdict_of_failure(trial, study, failure=failure, message=message, exception=exception)
        case ReleaseRequest(reason=reason):
            message = f"given back by worker {trial.worker}: {reason}"
            verdict = verdict_of_failure(trial, study, failure=Failure(reason), message=message)
    return _Result(verdict, trial)


def _complete_result(trial: Trial, study: Study, request: CompleteRequest, curve: Sequence[Point]) -> _Result:
    """Take the value from the whole curve: an interim value may come from steps that were lost with an attempt."""
    final = _final_report(trial, request, curve)
    if final is not None:
        last = Point(step=final.step, metrics=final.metrics)
        curve = sorted([*(point for point in curve if point.step != last.step), last], key=lambda point: point.step)
    if trial.stop is StopReason.PAUSED and _has_run_all_steps(trial, study, curve):
        trial = replace(trial, stop=None)  # it finished before the order reached it
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


def _preflight_result(trial: Trial, request: CompleteRequest) -> _Result:
    """Return the result of a preflight; one that found a problem has failed, and is not retried automatically."""
    report = request.preflight
    if not trial.is_preflight:
        raise InvalidInput([Problem("preflight", "is for the study's preflight, and this is a trial")])
    if trial.stop is not None:
        return _Result(Verdict(end_of_completion(trial.stop), trial.stop_message, trial.failures), trial)
    if report is None:
        raise InvalidInput([Problem("preflight", "is required: a preflight completes with what it found")])
    end = End(TrialState.COMPLETE) if report.passed else End(TrialState.FAILED, Failure.INFEASIBLE)
    return _Result(Verdict(end, report.finding, trial.failures), trial, report=report)


def _has_run_all_steps(trial: Trial, study: Study, curve: Sequence[Point]) -> bool:
    steps = steps_of(study.spec, trial.number)
    return steps is not None and bool(curve) and curve[-1].step + 1 >= steps


def _final_report(trial: Trial, request: CompleteRequest, curve: Sequence[Point]) -> Report | None:
    """Return the final metrics merged over those of the last step."""
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


def _outcome(request: Request, verdict: Verdict) -> str:
    """Return the outcome to record for the attempt, also where its trial waits for another one."""
    match request:
        case FailRequest(failure=failure):
            return str(failure)
        case ReleaseRequest(reason=reason):
            return reason
    return str(verdict.end.failure or verdict.end.state)


def _key(request: Request) -> str:
    """Return the request as canonical text; the order of metrics does not matter."""
    return f"{type(request).__name__} {json.dumps(json.loads(request.model_dump_json()), sort_keys=True)}"

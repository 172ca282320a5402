"""Trials by hand: a worker of your own in a few lines.

with study.claim() as trial:
    if trial is not None:
        loss = train(**trial.params)
        trial.report(loss=loss)
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import traceback
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tunefleet import __version__
from tunefleet.client.artifacts import upload
from tunefleet.client.report_sender import ReportSender
from tunefleet.client.transport import Transport, route
from tunefleet.errors import InvalidInput, Problem, TunefleetError
from tunefleet.model import shown
from tunefleet.protocol import (
    MAX_WAIT_S,
    ClaimRequest,
    ClaimResponse,
    CompleteRequest,
    EndResponse,
    FailRequest,
    Lease,
    ReleaseRequest,
    WorkerFacts,
)
from tunefleet.study.spec import StudySpec
from tunefleet.trial.trial import Assignment, Trial, TrialStopped

MAX_MESSAGE = 4_000
MAX_LOG = 20_000


class ClaimedTrial(Trial):
    """A trial of the master that runs in this process, with the face that every trial has.

    Heartbeats and reports go out in the background from the claim to the end of its `with` block. The block's end
    completes the trial; an exception fails it with its traceback and goes on its way; KeyboardInterrupt and SystemExit
    give it back, for another attempt. A trial that is told to stop raises TrialStopped from `report` and `epochs`,
    which the block takes for a normal end.

    The block raises LeaseLost when another worker has the trial now, and MasterUnreachable when its end could not be
    told.

    Attributes:
        study: its study's name.
        outcome: what became of the trial; None until the block has ended.
    """

    def __init__(
        self, transport: Transport, lease: Lease, *, worker: str, facts: WorkerFacts, heartbeat_s: float
    ) -> None:
        super().__init__(Assignment.of(lease), folder=Path(tempfile.mkdtemp(prefix="tunefleet-claim-")))
        self.study = lease.study
        self.outcome: EndResponse | None = None
        self._lease = lease
        self._transport = transport
        self._sender = ReportSender(transport, lease, worker=worker, facts=facts, heartbeat_s=heartbeat_s)

    def __enter__(self) -> Self:
        """The trial itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """End the attempt; True for TrialStopped, which was no error."""
        try:
            self._end_watch()
            if error is None or isinstance(error, TrialStopped):
                self._complete()
                return True
            self._fail_or_release(error)
            return False
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self) -> None:
        self._sender.close()
        self._end("complete", CompleteRequest(attempt=self.attempt))

    def _fail_or_release(self, error: BaseException) -> None:
        """Tell why it ended; the exception that ended it goes on, whatever becomes of the message."""
        try:
            self._sender.close()
            if isinstance(error, Exception):
                self._end("fail", fail_request(error, self.attempt))
            else:
                self._end("release", ReleaseRequest(attempt=self.attempt))
        except TunefleetError as unsent:
            error.add_note(f"Tunefleet could not tell the master: {unsent}")

    def _end(self, how: str, body: CompleteRequest | FailRequest | ReleaseRequest) -> None:
        self.outcome = self._transport.post(route("trials", self._lease.trial_id, how), body, answer=EndResponse)

    def _begin(self, count: int, stateful: Mapping[str, Any]) -> int:
        self._raise_if_ended()
        return 0

    def _between(self, step: int, count: int, stateful: Mapping[str, Any]) -> None:
        if step < count - 1:
            self._raise_if_ended()

    def _record(self, step: int, metrics: dict[str, float]) -> None:
        self._sender.put(step, metrics)
        self._raise_if_ended()

    def _keep(self, name: str, file: Path) -> None:
        upload(self._transport, file, name, trial_id=self._lease.trial_id, attempt=self.attempt)

    def _raise_if_ended(self) -> None:
        if self._sender.failure is not None:
            raise self._sender.failure
        if self._sender.stop_reason is not None:
            raise TrialStopped(self._sender.stop_reason)


def claim_trial(transport: Transport, request: ClaimRequest) -> ClaimedTrial | None:
    """Claim one trial; None when the master has none within the request's wait."""
    answer = transport.post("/claims", request, answer=ClaimResponse, timeout_s=request.wait_s + MAX_WAIT_S)
    if not answer.leases:
        return None
    return ClaimedTrial(
        transport, answer.leases[0], worker=request.worker, facts=request.facts, heartbeat_s=answer.heartbeat_s
    )


def claim_request(spec: StudySpec, *, worker: str | None, wait_s: float) -> ClaimRequest:
    """A claim on one trial of the study, by a worker that says it has whatever the study asks for.

    Raises:
        InvalidInput: the study trains a population.
    """
    if trains_population(spec.search.sampler):
        rule = (
            "trains a population, whose trials go on from each other's checkpoints, which trials that are claimed by "
            "hand cannot; run it on workers, started with `tunefleet-worker run`"
        )
        raise InvalidInput([Problem("search.sampler", rule, shown(spec.search.sampler))])
    facts = WorkerFacts(
        host=platform.node()[:200],
        gpus_per_slot=spec.resources.gpus,
        labels=spec.resources.labels,
        allow_code=True,
        study=spec.name,
        version=__version__,
    )
    return ClaimRequest(
        worker=worker or default_worker(),
        study=spec.name,
        wait_s=min(wait_s, MAX_WAIT_S),
        request_id=uuid.uuid4().hex,
        facts=facts,
    )


def default_worker() -> str:
    """A name that tells this process from others: host and process id."""
    host = "".join(char if char.isascii() and char.isalnum() else "-" for char in platform.node()).strip("-")
    return f"{host[:60] or 'client'}-{os.getpid()}"


def fail_request(error: Exception, attempt: int) -> FailRequest:
    """What an exception says about an attempt: its text, its type and place, its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    return FailRequest(
        attempt=attempt,
        message=f"{type(error).__name__}: {error}"[:MAX_MESSAGE],
        exception=f"{type(error).__name__} at {place}"[:500],
        log_tail="".join(traceback.format_exception(error))[-MAX_LOG:],
    )

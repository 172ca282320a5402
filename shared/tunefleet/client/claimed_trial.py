"""Trials that run in your own process, without a worker.

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
from tunefleet.catalogue.samplers import trains_population
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
    """A claimed trial that runs in this process, with the interface of every trial.

    A background thread sends heartbeats and reports from the claim to the end of the `with` block. The end of the block
    completes the trial. An exception fails the trial with its traceback and propagates. KeyboardInterrupt and
    SystemExit release the trial for another attempt. When the master stops the trial, `report` and `epochs` raise
    TrialStopped, which ends the block normally.

    The block raises LeaseLost when another worker holds the trial, and MasterUnreachable when the master does not
    receive the trial's end.

    Attributes:
        study: the study's name.
        outcome: the trial's result; None until the block has ended.
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
        """Return the trial."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """End the attempt; return True for TrialStopped, which is not an error."""
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
        """Send the reason of the end; a failure to send it becomes a note on `error`."""
        try:
            self._sender.close()
            if isinstance(error, Exception):
                self._end("fail", fail_request(error, self.attempt))
            else:
                self._end("release", ReleaseRequest(attempt=self.attempt))
        except TunefleetError as unsent:
            error.add_note(f"Tunefleet could not report this to the master: {unsent}")

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
    """Claim one trial; return None when the master has none within the request's `wait_s`."""
    answer = transport.post("/claims", request, answer=ClaimResponse, timeout_s=request.wait_s + MAX_WAIT_S)
    if not answer.leases:
        return None
    return ClaimedTrial(
        transport, answer.leases[0], worker=request.worker, facts=request.facts, heartbeat_s=answer.heartbeat_s
    )


def claim_request(spec: StudySpec, *, worker: str | None, wait_s: float) -> ClaimRequest:
    """Return a claim on one trial of the study, by a worker that declares the resources that the study requires.

    Raises:
        InvalidInput: the study trains a population.
    """
    if trains_population(spec.search.sampler):
        rule = (
            "trains a population: its trials continue from each other's checkpoints, which trials claimed with "
            "study.claim() cannot; run the study on workers, started with `tunefleet-worker run`"
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
    """Return a name that is unique to this process: host and process id."""
    host = "".join(char if char.isascii() and char.isalnum() else "-" for char in platform.node()).strip("-")
    return f"{host[:60] or 'client'}-{os.getpid()}"


def fail_request(error: Exception, attempt: int) -> FailRequest:
    """Return the report of a failed attempt, with the exception's text, type, source line and traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown line"
    return FailRequest(
        attempt=attempt,
        message=f"{type(error).__name__}: {error}"[:MAX_MESSAGE],
        exception=f"{type(error).__name__} at {place}"[:500],
        log_tail="".join(traceback.format_exception(error))[-MAX_LOG:],
    )

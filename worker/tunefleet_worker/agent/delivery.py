"""Delivery of an attempt's records to the master: reports in batches, files, the log, and finally the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from tunefleet.client.artifacts import upload
from tunefleet.client.transport import Transport, route
from tunefleet.errors import Conflict, InvalidInput, NotFound, TooLarge, TunefleetError
from tunefleet.failpoints import failpoint
from tunefleet.model import Model
from tunefleet.protocol import (
    MAX_BATCH,
    CompleteRequest,
    Directive,
    EndResponse,
    FailRequest,
    Failure,
    Lease,
    PreflightReport,
    ReleaseRequest,
    Report,
    ReportBatch,
    StopOrder,
    StopReason,
    TrialDetail,
)
from tunefleet_worker.agent.checkpoint_cache import CheckpointCache
from tunefleet_worker.attempt_folder import CHECKPOINT, LOG, AttemptFolder
from tunefleet_worker.logfile import CappedLog
from tunefleet_worker.spool import End, FileRecord, ReportRecord, SpoolReader

LOG_EVERY_S = 5.0  # between two uploads of a growing log: soon enough for a person who follows it
LOG_TAIL_BYTES = 4_000  # sent with a failure, so that a person sees the reason without opening the log


T = TypeVar("T", bound=Model)


Pause = Callable[[TunefleetError], None]
"""Called with the error before a request is retried; raises MasterUnreachable when the agent leaves."""


class AttemptRefused(TunefleetError):
    """The master refuses this attempt: another attempt has the trial, or the trial has ended or was deleted."""

    code = "not_wanted"


class Delivery:
    """Sends the records of one attempt to the master. Every call retries until it has an answer.

    Every call raises AttemptRefused when the master refuses the attempt, and MasterUnreachable when the agent leaves.

    Args:
        transport: the connection to the master.
        lease: the attempt's lease.
        folder: the attempt's folder.
        log: the attempt's output; None for an attempt of an earlier agent.
        cache: receives checkpoints after their upload.
        pause: waits before a retry, after an error that the attempt did not cause.
    """

    def __init__(
        self,
        transport: Transport,
        lease: Lease,
        *,
        folder: AttemptFolder,
        log: CappedLog | None,
        cache: CheckpointCache,
        pause: Pause,
    ) -> None:
        self._transport = transport
        self._lease = lease
        self._folder = folder
        self._log = log
        self._cache = cache
        self._pause = pause
        self._reader = SpoolReader(folder.spool)
        self._logged_bytes = 0
        self._logged_at = time.monotonic()

    def check_trial(self) -> None:
        """Check that the master's trial is the one that the lease was for: the master may have another database now.

        Raises AttemptRefused when it is another trial.
        """
        lease = self._lease
        trial = self._retry_until_answered(lambda: self._transport.get(route("trials", lease.trial_id), TrialDetail))
        if (trial.study, trial.number, trial.params, trial.seed) != (
            lease.study,
            lease.number,
            lease.params,
            lease.seed,
        ):
            raise AttemptRefused("the master has another trial under this id.")

    def catch_up(self) -> StopOrder | None:
        """Send the new records of the spool; return the master's order to stop, if it gave one.

        Only the newest report of a step and the newest file of a name are sent. Reports go first, then the model, then
        the checkpoint that belongs to it.
        """
        records = self._reader.read()
        reports: dict[int, Report] = {}
        files: dict[str, FileRecord] = {}
        for number, record in records:
            if isinstance(record, ReportRecord):
                reports[record.step] = Report(step=record.step, metrics=dict(record.metrics), number=number)
            elif isinstance(record, FileRecord):
                files[record.name] = record
        stop = self._send_reports(list(reports.values()))
        for record in sorted(files.values(), key=lambda file: file.name == CHECKPOINT):
            self._send_file(record)
        return stop

    def send_log_when_due(self) -> None:
        """Upload the log if it has grown and the last upload is at least LOG_EVERY_S ago."""
        now = time.monotonic()
        grown = self._log is not None and self._log.total_bytes > self._logged_bytes
        if grown and now - self._logged_at >= LOG_EVERY_S:
            self._send_log()
            self._logged_at = time.monotonic()

    def finish(self, end: End) -> EndResponse:
        """Upload the log, and send the end."""
        self._send_log()
        try:
            answer = self._send_end(end)
        except InvalidInput as error:  # the master refuses the metrics that the function returned
            answer = self._send_end(End.failed(Failure.ERROR, f"the master refused the result: {error}"))
        failpoint("agent.after_end")
        return answer

    def _send_reports(self, reports: list[Report]) -> StopOrder | None:
        stop = None
        for batch in _batches(reports):
            body = ReportBatch(attempt=self._lease.attempt, reports=batch)
            failpoint("agent.before_reports")
            try:
                answer = self._post("reports", body, Directive)
            except (InvalidInput, TooLarge) as error:
                self._note(f"the master refused {len(batch)} reports: {error}")
                continue
            failpoint("agent.after_reports")
            if answer.directive != "continue":
                reason = answer.reason or StopReason.CANCELLED
                stop = StopOrder(trial_id=self._lease.trial_id, reason=reason, message=answer.message)
        return stop

    def _send_file(self, record: FileRecord) -> None:
        path = self._folder.files / record.file
        key = self._lease
        failpoint("agent.before_upload")
        try:
            artifact = self._retry_until_answered(
                lambda: upload(self._transport, path, record.name, trial_id=key.trial_id, attempt=key.attempt)
            )
        except FileNotFoundError:  # the trial has written a newer file, and its record follows
            return
        except (InvalidInput, TooLarge) as error:
            self._note(f"the master refused the file {record.name}: {error}")
            return
        failpoint("agent.after_upload")
        if record.name == CHECKPOINT:
            self._cache.put(path, artifact.sha256)
        else:
            path.unlink(missing_ok=True)

    def _send_log(self) -> None:
        if self._log is not None and self._log.total_bytes == self._logged_bytes:
            return
        copy = self._folder.files / LOG
        try:
            if self._log is not None:
                self._logged_bytes = self._log.total_bytes
                self._log.copy_to(copy)
            elif self._folder.log.stat().st_size:
                self._folder.log.replace(copy)
            else:
                return
        except OSError:  # on a full disk the log is lost, not the result
            return
        self._send_file(FileRecord(LOG, copy.name))

    def _send_end(self, end: End) -> EndResponse:
        attempt = self._lease.attempt
        if end.outcome == "complete":
            # Only the end of a preflight has this key, so older masters accept all others.
            report = {} if end.preflight is None else {"preflight": PreflightReport.parse(end.preflight)}
            done = CompleteRequest(attempt=attempt, metrics=dict(end.metrics), **report)
            return self._post("complete", done, EndResponse)
        if end.outcome == "released":
            failpoint("agent.before_release")
            answer = self._post("release", ReleaseRequest(attempt=attempt, reason=end.reason), EndResponse)
            failpoint("agent.after_release")
            return answer
        tail = self._log.last(LOG_TAIL_BYTES) if self._log is not None else ""
        body = FailRequest(
            attempt=attempt, failure=end.failure, message=end.message, exception=end.exception, log_tail=tail
        )
        return self._post("fail", body, EndResponse)

    def _post(self, call: str, body: Model, answer: type[T]) -> T:
        path = route("trials", self._lease.trial_id, call)
        return self._retry_until_answered(lambda: self._transport.post(path, body, answer=answer))

    def _retry_until_answered(self, call: Callable[[], T]) -> T:
        """Retry a call until its answer is about this attempt.

        A refused token, an internal error of the master, or another server at its URL does not end the trial.
        """
        while True:
            try:
                return call()
            except (Conflict, NotFound) as error:
                raise AttemptRefused(str(error)) from error
            except (InvalidInput, TooLarge):
                raise
            except TunefleetError as error:
                self._pause(error)

    def _note(self, text: str) -> None:
        if self._log is not None:
            self._log.add(f"[tunefleet] {text}\n".encode())


def _batches(reports: list[Report]) -> Iterator[list[Report]]:
    for at in range(0, len(reports), MAX_BATCH):
        yield reports[at : at + MAX_BATCH]

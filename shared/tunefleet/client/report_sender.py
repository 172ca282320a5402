"""The background thread of one claimed trial, which sends its reports in order and its heartbeats on time."""

from __future__ import annotations

import random
import threading
import time
from typing import Final

from tunefleet.client.transport import Transport, route
from tunefleet.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    LeaseLost,
    NotFound,
    TooLarge,
    TunefleetError,
    Unauthorized,
)
from tunefleet.protocol import (
    MAX_BATCH,
    Directive,
    HeartbeatRequest,
    HeartbeatResponse,
    HeldLease,
    Lease,
    Report,
    ReportBatch,
    StopReason,
    WorkerFacts,
)

MIN_HEARTBEAT_SHARE: Final = 0.8  # of the interval: enough jitter to spread a fleet's heartbeats
RETRY_PAUSE_S: Final = 1.0
REFUSALS: Final = (Conflict, Forbidden, InvalidInput, NotFound, TooLarge, Unauthorized)
"""Permanent errors, which a retry does not change; all other errors are temporary."""


class ReportSender:
    """A thread that sends a trial's reports and heartbeats; it starts at once and ends with `close`.

    Attributes:
        stop_reason: why the master stops the trial; None while the trial may continue.
        failure: the error that ended the thread: the lease is lost, or the master refuses the reports.
    """

    def __init__(
        self, transport: Transport, lease: Lease, *, worker: str, facts: WorkerFacts, heartbeat_s: float
    ) -> None:
        self.stop_reason: StopReason | None = None
        self.failure: TunefleetError | None = None
        self._transport = transport
        self._lease = lease
        self._heartbeat = HeartbeatRequest(
            worker=worker, leases=[HeldLease(trial_id=lease.trial_id, attempt=lease.attempt)], facts=facts
        )
        self._heartbeat_s = heartbeat_s
        self._queue: list[Report] = []
        self._n_queued = 0
        self._is_closing = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"tunefleet-trial-{lease.number}", daemon=True)
        self._thread.start()

    def put(self, step: int, metrics: dict[str, float]) -> None:
        """Queue a report; a later report of the same step replaces it."""
        with self._condition:
            self._n_queued += 1
            self._queue.append(Report(step=step, metrics=metrics, number=self._n_queued))
            self._condition.notify()

    def close(self) -> None:
        """Send the queued reports and end the thread.

        Raises:
            TunefleetError: the `failure`, or the error that prevented the delivery of the last reports.
        """
        with self._condition:
            self._is_closing = True
            self._condition.notify()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        next_heartbeat = self._next_heartbeat()
        while self.failure is None:
            with self._condition:
                self._condition.wait_for(
                    lambda: self._queue or self._is_closing, timeout=max(0.0, next_heartbeat - time.monotonic())
                )
                batch, is_last = self._queue[:MAX_BATCH], self._is_closing and len(self._queue) <= MAX_BATCH
            try:
                self._send(batch)
                if time.monotonic() >= next_heartbeat and not is_last:
                    next_heartbeat = self._next_heartbeat()
                    self._send_heartbeat()
            except REFUSALS as error:
                self.failure = error
            except TunefleetError as error:
                # The transport has exhausted its retries. While the trial runs, its reports stay in the queue.
                if self._is_closing:
                    self.failure = error
                else:
                    self._pause()
                continue
            if is_last:
                return

    def _pause(self) -> None:
        """Wait before the next attempt to reach the master, or until `close`."""
        with self._condition:
            self._condition.wait_for(lambda: self._is_closing, timeout=RETRY_PAUSE_S)

    def _next_heartbeat(self) -> float:
        return time.monotonic() + self._heartbeat_s * random.uniform(MIN_HEARTBEAT_SHARE, 1.0)

    def _send(self, batch: list[Report]) -> None:
        if not batch:
            return
        body = ReportBatch(attempt=self._lease.attempt, reports=batch)
        answer = self._transport.post(route("trials", self._lease.trial_id, "reports"), body, answer=Directive)
        with self._condition:
            del self._queue[: len(batch)]
        if answer.directive != "continue":
            self.stop_reason = answer.reason or StopReason.CANCELLED

    def _send_heartbeat(self) -> None:
        answer = self._transport.post("/heartbeats", self._heartbeat, answer=HeartbeatResponse)
        self._heartbeat_s = answer.heartbeat_s
        if self._lease.trial_id in answer.lost:
            raise LeaseLost(
                f"The lease on trial {self._lease.number} of {self._lease.study} has passed to another worker."
            )
        for order in answer.stop:
            self.stop_reason = order.reason

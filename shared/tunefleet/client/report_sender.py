"""The thread that speaks with the master for one claimed trial: reports go out in order, heartbeats on time."""

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

MIN_BEAT_SHARE: Final = 0.8  # of the interval: enough jitter that a fleet's beats drift apart
REST_S: Final = 1.0
REFUSALS: Final = (Conflict, Forbidden, InvalidInput, NotFound, TooLarge, Unauthorized)
"""Answers that another try does not change; everything else is a master in trouble, which passes."""


class ReportSender:
    """Sends what a trial reports, and tells what the master wants; started at once, ended with `close`.

    Attributes:
        order: why the trial must stop; None while it may go on.
        failure: what ended the sending for good: the lease is lost, or the master refuses the reports.
    """

    def __init__(
        self, transport: Transport, lease: Lease, *, worker: str, facts: WorkerFacts, heartbeat_s: float
    ) -> None:
        self.order: StopReason | None = None
        self.failure: TunefleetError | None = None
        self._transport = transport
        self._lease = lease
        self._beat_request = HeartbeatRequest(
            worker=worker, leases=[HeldLease(trial_id=lease.trial_id, attempt=lease.attempt)], facts=facts
        )
        self._heartbeat_s = heartbeat_s
        self._waiting: list[Report] = []
        self._n_put = 0
        self._closing = False
        self._bell = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"tunefleet-trial-{lease.number}", daemon=True)
        self._thread.start()

    def put(self, step: int, metrics: dict[str, float]) -> None:
        """Queue a report; a later one of the same step replaces it."""
        with self._bell:
            self._n_put += 1
            self._waiting.append(Report(step=step, metrics=metrics, number=self._n_put))
            self._bell.notify()

    def close(self) -> None:
        """Send what is still queued and end the thread.

        Raises:
            TunefleetError: the `failure`, or that the last reports could not be delivered.
        """
        with self._bell:
            self._closing = True
            self._bell.notify()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        next_beat = self._next_beat()
        while self.failure is None:
            with self._bell:
                self._bell.wait_for(
                    lambda: self._waiting or self._closing, timeout=max(0.0, next_beat - time.monotonic())
                )
                batch, is_last = self._waiting[:MAX_BATCH], self._closing and len(self._waiting) <= MAX_BATCH
            try:
                self._send(batch)
                if time.monotonic() >= next_beat and not is_last:
                    next_beat = self._next_beat()
                    self._beat()
            except REFUSALS as error:
                self.failure = error
            except TunefleetError as error:
                # The transport has tried for its whole patience. While the trial runs, its reports can wait.
                if self._closing:
                    self.failure = error
                else:
                    self._rest()
                continue
            if is_last:
                return

    def _rest(self) -> None:
        """Leave an absent master alone for a moment, unless the trial ends meanwhile."""
        with self._bell:
            self._bell.wait_for(lambda: self._closing, timeout=REST_S)

    def _next_beat(self) -> float:
        return time.monotonic() + self._heartbeat_s * random.uniform(MIN_BEAT_SHARE, 1.0)

    def _send(self, batch: list[Report]) -> None:
        if not batch:
            return
        body = ReportBatch(attempt=self._lease.attempt, reports=batch)
        answer = self._transport.post(route("trials", self._lease.trial_id, "reports"), body, answer=Directive)
        with self._bell:
            del self._waiting[: len(batch)]
        if answer.directive != "continue":
            self.order = answer.reason or StopReason.CANCELLED

    def _beat(self) -> None:
        answer = self._transport.post("/heartbeats", self._beat_request, answer=HeartbeatResponse)
        self._heartbeat_s = answer.heartbeat_s
        if self._lease.trial_id in answer.lost:
            raise LeaseLost(
                f"The lease on trial {self._lease.number} of {self._lease.study} has passed to another worker."
            )
        for order in answer.stop:
            self.order = order.reason

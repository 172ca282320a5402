"""The I/O around the agent's state machine: pass events to it, and carry out its instructions."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

from tunefleet.client.transport import Transport, route
from tunefleet.errors import Forbidden, InvalidInput, MasterUnreachable, NotFound, TunefleetError, Unauthorized
from tunefleet.failpoints import failpoint
from tunefleet.protocol import (
    ClaimRequest,
    ClaimResponse,
    EndResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    HeldLease,
    ReleaseRequest,
    WorkerFacts,
)
from tunefleet_worker.agent import events
from tunefleet_worker.agent.events import Instruction, Key
from tunefleet_worker.agent.exit_watchdog import WATCHDOG_SHARE, ExitWatchdog
from tunefleet_worker.agent.machine import on_event
from tunefleet_worker.agent.recovery import recovered_attempts
from tunefleet_worker.agent.runner import Runner, RunnerResources
from tunefleet_worker.agent.state import AgentState, Limits
from tunefleet_worker.agent.worker_folder import WorkerFolder

POLL_MARGIN_S = 15.0  # added to the wait of a long poll: the answer may take this much longer
FIRST_HEARTBEAT_PATIENCE_S = 1.0  # a person is waiting at the terminal
HEARTBEAT_PATIENCE_S = 5.0  # the next heartbeat is due soon
DEFAULT_HEARTBEAT_S = 10.0  # until the master has sent its interval
MIN_INTERVAL_SHARE = 0.8  # of the interval: jitter that spreads the heartbeats of a fleet
SETTLE_PATIENCE_S = 3.0  # a lease that is not settled in this time expires
RELEASE_AT_ONCE_S = 2.0  # for releasing leases when the agent stops at once

_log = logging.getLogger(__name__)
CLEAN_UP_S = 1.0  # for deleting the files of attempts; the next agent deletes the rest


@dataclass(frozen=True, slots=True)
class Identity:
    """The worker's name and facts, as the master knows them."""

    name: str
    facts: WorkerFacts

    def facts_with(self, status: str, **more: float | bool | None) -> WorkerFacts:
        """Return the facts with a status line and the fields that belong to it."""
        return self.facts.model_copy(update={"status": status, **{key: value for key, value in more.items() if value}})


class Agent:
    """Runs trials until it receives a signal or is idle for long enough.

    Args:
        identity: the worker's name and facts.
        folder: the worker's folder, locked.
        resources: shared by all attempts; `resources.emit` must put events on `inbox`.
        inbox: events from all threads and signal handlers.
        limits: time limits.
    """

    def __init__(
        self,
        identity: Identity,
        folder: WorkerFolder,
        *,
        resources: RunnerResources,
        inbox: queue.SimpleQueue[events.Event],
        limits: Limits | None = None,
    ) -> None:
        self._identity = identity
        self._folder = folder
        self._resources = resources
        self._inbox = inbox
        self._transport = resources.transport
        self._state = AgentState.begin(
            slots=resources.slots.count, prefix=uuid.uuid4().hex, now=time.monotonic(), limits=limits
        )
        self._watchdog = ExitWatchdog(WATCHDOG_SHARE * self._state.drain_s)
        self._runners: dict[Key, Runner] = {}
        self._dropped: list[Runner] = []  # they may still be deleting files
        self._claims = SerialExecutor("claims")
        self._heartbeats = SerialExecutor("heartbeats")
        self._heartbeat_s = DEFAULT_HEARTBEAT_S
        self._is_reachable = True
        self._performers: dict[type[Any], Callable[[Any], object]] = {
            events.Claim: lambda order: self._claims.put(lambda: self._claim(order)),
            events.SettleClaim: lambda order: _in_thread(lambda: self._settle(order)),
            events.Start: self._start,
            events.Adopt: self._adopt,
            events.SendOrder: lambda order: self._runners[order.key].send_order(order.order),
            events.Kill: lambda order: self._runners[order.key].kill(),
            events.Deliver: lambda order: self._runners[order.key].deliver(order.end),
            events.Drop: self._drop,
            events.Release: lambda order: _in_thread(lambda: self._release(order)),
            events.ReleaseAtOnce: self._release_at_once,
            events.SendHeartbeat: lambda order: self._heartbeats.put(lambda: self._send_heartbeat(order)),
            events.Log: lambda order: _log.info(order.text),
        }

    def run(self) -> int:
        """Work until the agent leaves, and return the exit code. Call it in the main thread, which receives signals.

        Raises:
            InvalidInput, NotFound, Unauthorized, Forbidden: the master refuses this worker, or the URL is wrong.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._send_first_heartbeat()
        self._resources.launcher.warm_up()
        for leftover in recovered_attempts(self._folder.attempts, self._transport.url):
            self._inbox.put(leftover)
        try:
            return self._loop()
        finally:
            self._resources.leaving.set()
            give_up_at = time.monotonic() + CLEAN_UP_S
            for runner in self._dropped:
                runner.join(max(0.0, give_up_at - time.monotonic()))
            self._resources.launcher.close()

    def _loop(self) -> int:
        event: events.Event = events.Tick()
        while True:
            self._state, instructions = on_event(self._state, event, now=time.monotonic())
            for instruction in instructions:
                if isinstance(instruction, events.Exit):
                    return instruction.code
                self._perform(instruction)
            event = self._next_event()

    def _perform(self, instruction: Instruction) -> None:
        self._performers[type(instruction)](instruction)

    def _next_event(self) -> events.Event:
        deadline = self._state.next_deadline()
        timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return events.Tick()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._watchdog.arm()
        self._inbox.put(events.SignalReceived())  # SimpleQueue.put is safe in a signal handler

    # --- Attempts

    def _start(self, order: events.Start) -> None:
        self._begin(Runner(order.lease, self._resources, slot=order.slot))

    def _adopt(self, order: events.Adopt) -> None:
        self._begin(Runner(order.lease, self._resources, slot=None))

    def _begin(self, runner: Runner) -> None:
        self._runners[runner.key] = runner
        runner.begin()

    def _drop(self, order: events.Drop) -> None:
        runner = self._runners.pop(order.key)
        runner.drop()
        self._dropped = [each for each in self._dropped if each.is_alive] + [runner]

    # --- Calls to the master, in threads

    def _send_first_heartbeat(self) -> None:
        """Send the first heartbeat, so that a wrong token or URL fails at once."""
        try:
            self._post_heartbeat(events.SendHeartbeat((), ""), patience_s=FIRST_HEARTBEAT_PATIENCE_S)
        except (InvalidInput, NotFound, Unauthorized, Forbidden):
            raise
        except TunefleetError as error:
            self._is_reachable = False
            _log.warning("%s Retrying.", error)

    def _claim(self, order: events.Claim) -> None:
        request = ClaimRequest(
            worker=self._identity.name,
            slots=order.slots,
            wait_s=order.wait_s,
            request_id=order.request_id,
            study=self._identity.facts.study,
            facts=self._identity.facts_with(order.status),
        )
        timeout_s = order.wait_s + POLL_MARGIN_S
        try:
            answer = self._transport.post("/claims", request, answer=ClaimResponse, timeout_s=timeout_s)
        except TunefleetError as error:
            if not isinstance(error, MasterUnreachable):
                _log.warning("the master refuses a claim: %s", error)
            self._inbox.put(events.ClaimFailed(order.request_id))
        else:
            if answer.leases:
                failpoint("agent.after_claim")
            self._inbox.put(events.Claimed(order.request_id, tuple(answer.leases)))

    def _settle(self, order: events.SettleClaim) -> None:
        request = ClaimRequest(
            worker=self._identity.name,
            slots=order.slots,
            wait_s=0,
            request_id=order.request_id,
            study=self._identity.facts.study,
            facts=self._identity.facts_with("draining", is_leaving=True),
        )
        transport = self._transport.with_retry_time(SETTLE_PATIENCE_S)
        try:
            answer = transport.post("/claims", request, answer=ClaimResponse, timeout_s=SETTLE_PATIENCE_S)
        except TunefleetError:
            self._inbox.put(events.ClaimFailed(order.request_id, settles=True))
        else:
            self._inbox.put(events.Claimed(order.request_id, tuple(answer.leases), settles=True))

    def _release(self, order: events.Release) -> None:
        self._release_lease(Key.of(order.lease), self._transport.with_retry_time(SETTLE_PATIENCE_S))
        self._inbox.put(events.Released(Key.of(order.lease)))

    def _release_at_once(self, order: events.ReleaseAtOnce) -> None:
        transport = self._transport.with_retry_time(0)
        threads = [_in_thread(partial(self._release_lease, key, transport)) for key in order.keys]
        give_up_at = time.monotonic() + RELEASE_AT_ONCE_S
        for thread in threads:
            thread.join(max(0.0, give_up_at - time.monotonic()))

    def _release_lease(self, key: Key, transport: Transport) -> None:
        path = route("trials", key.trial_id, "release")
        with contextlib.suppress(TunefleetError):  # the lease expires
            transport.post(path, ReleaseRequest(attempt=key.attempt), answer=EndResponse, timeout_s=RELEASE_AT_ONCE_S)

    def _send_heartbeat(self, order: events.SendHeartbeat) -> None:
        try:
            answer = self._post_heartbeat(order)
        except TunefleetError as error:
            if self._is_reachable:
                _log.warning("%s Retrying; running trials continue.", error)
            self._is_reachable = False
            self._inbox.put(events.HeartbeatFailed(self._next_heartbeat_in_s()))
            return
        if not self._is_reachable:
            _log.info("the master answers again")
        self._is_reachable = True
        self._inbox.put(
            events.HeartbeatAnswered(order.keys, tuple(answer.lost), tuple(answer.stop), self._next_heartbeat_in_s())
        )

    def _post_heartbeat(
        self, order: events.SendHeartbeat, *, patience_s: float = HEARTBEAT_PATIENCE_S
    ) -> HeartbeatResponse:
        request = HeartbeatRequest(
            worker=self._identity.name,
            leases=[HeldLease(trial_id=key.trial_id, attempt=key.attempt) for key in order.keys],
            facts=self._identity.facts_with(order.status, resting_s=order.resting_s, is_leaving=order.is_leaving),
        )
        transport = self._transport.with_retry_time(patience_s)
        failpoint("agent.before_beat")
        answer = transport.post("/heartbeats", request, answer=HeartbeatResponse, timeout_s=DEFAULT_HEARTBEAT_S)
        failpoint("agent.after_beat")
        self._heartbeat_s = answer.heartbeat_s
        self._folder.record_heartbeat()
        return answer

    def _next_heartbeat_in_s(self) -> float:
        return self._heartbeat_s * random.uniform(MIN_INTERVAL_SHARE, 1.0)


def _in_thread(job: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    return thread


class SerialExecutor:
    """A thread that runs jobs one after another."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def put(self, job: Callable[[], None]) -> None:
        """Run a job after all earlier ones."""
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job()
            except Exception:  # our own defect: stop, since the worker can no longer do its job
                _log.exception("internal error; the worker stops")
                os.kill(os.getpid(), signal.SIGTERM)

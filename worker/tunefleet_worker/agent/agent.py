"""The shell around the agent's state machine: it feeds it events, and performs its instructions."""

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
from tunefleet_worker.agent.last_resort import SHARE, LastResort
from tunefleet_worker.agent.machine import on_event
from tunefleet_worker.agent.recovery import leftovers
from tunefleet_worker.agent.runner import Runner, RunnerResources
from tunefleet_worker.agent.state import AgentState, Limits
from tunefleet_worker.agent.worker_folder import WorkerFolder

POLL_MARGIN_S = 15.0  # an answer to a long poll may come so much later than its wait
GREETING_PATIENCE_S = 1.0  # somebody looks at the terminal now
BEAT_PATIENCE_S = 5.0  # the next beat is due soon anyway
FIRST_BEAT_S = 10.0  # until the master has said how often
MIN_BEAT_SHARE = 0.8  # of the interval: enough jitter that a fleet's beats drift apart
SETTLE_PATIENCE_S = 3.0  # a lease that is not settled within it expires by itself
HURRY_S = 2.0  # for the last words of an agent that stops at once

_log = logging.getLogger(__name__)
CLEAN_UP_S = 1.0  # for deleting the files of attempts; the next agent deletes what is left


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the worker is to the master."""

    name: str
    facts: WorkerFacts

    def facts_with(self, status: str, **more: float | bool | None) -> WorkerFacts:
        """The facts with a line about how things are, and fields that go with it."""
        return self.facts.model_copy(update={"status": status, **{key: value for key, value in more.items() if value}})


class Agent:
    """Runs trials until it is told to leave.

    Args:
        identity: of the worker.
        place: its folder, entered.
        shop: what its attempts work with; `shop.emit` must put events on `inbox`.
        inbox: events of all threads and of signal handlers.
        limits: on its times.
    """

    def __init__(
        self,
        identity: Identity,
        place: WorkerFolder,
        *,
        shop: RunnerResources,
        inbox: queue.SimpleQueue[events.Event],
        limits: Limits | None = None,
    ) -> None:
        self._identity = identity
        self._place = place
        self._shop = shop
        self._inbox = inbox
        self._transport = shop.transport
        self._state = AgentState.begin(
            slots=shop.slots.count, prefix=uuid.uuid4().hex, now=time.monotonic(), limits=limits
        )
        self._last_resort = LastResort(SHARE * self._state.drain_s)
        self._runners: dict[Key, Runner] = {}
        self._dropped: list[Runner] = []  # which may still be deleting their files
        self._claims = SerialExecutor("claims")
        self._beats = SerialExecutor("beats")
        self._heartbeat_s = FIRST_BEAT_S
        self._is_reachable = True
        self._performers: dict[type[Any], Callable[[Any], object]] = {
            events.Claim: lambda order: self._claims.put(lambda: self._claim(order)),
            events.SettleClaim: lambda order: _aside(lambda: self._settle(order)),
            events.Start: self._start,
            events.Adopt: self._adopt,
            events.Tell: lambda order: self._runners[order.key].tell(order.order),
            events.Kill: lambda order: self._runners[order.key].kill(),
            events.Deliver: lambda order: self._runners[order.key].deliver(order.end),
            events.Drop: self._drop,
            events.Release: lambda order: _aside(lambda: self._release(order)),
            events.ReleaseAtOnce: self._release_at_once,
            events.Beat: lambda order: self._beats.put(lambda: self._beat(order)),
            events.Say: lambda order: _log.info(order.text),
        }

    def run(self) -> int:
        """Work until it is time to leave; the exit code. To be called in the main thread, which gets the signals.

        Raises:
            InvalidInput, NotFound, Unauthorized, Forbidden: the master refuses this worker, or there is no master.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._greet()
        self._shop.launcher.warm_up()
        for leftover in leftovers(self._place.attempts, self._transport.url):
            self._inbox.put(leftover)
        try:
            return self._loop()
        finally:
            self._shop.leaving.set()
            give_up_at = time.monotonic() + CLEAN_UP_S
            for runner in self._dropped:
                runner.join(max(0.0, give_up_at - time.monotonic()))
            self._shop.launcher.close()

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
        self._last_resort.arm()
        self._inbox.put(events.SignalCame())  # a SimpleQueue may be put to from a signal handler

    # --- Attempts

    def _start(self, order: events.Start) -> None:
        self._begin(Runner(order.lease, self._shop, slot=order.slot))

    def _adopt(self, order: events.Adopt) -> None:
        self._begin(Runner(order.lease, self._shop, slot=None))

    def _begin(self, runner: Runner) -> None:
        self._runners[runner.key] = runner
        runner.begin()

    def _drop(self, order: events.Drop) -> None:
        runner = self._runners.pop(order.key)
        runner.drop()
        self._dropped = [each for each in self._dropped if each.is_alive] + [runner]

    # --- Calls to the master, each in a thread of its line

    def _greet(self) -> None:
        """The first heartbeat, so that a wrong token or address is seen at once."""
        try:
            self._send_beat(events.Beat((), ""), patience_s=GREETING_PATIENCE_S)
        except (InvalidInput, NotFound, Unauthorized, Forbidden):
            raise
        except TunefleetError as error:
            self._is_reachable = False
            _log.warning("%s Going on trying.", error)

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
        self._give_back(Key.of(order.lease), self._transport.with_retry_time(SETTLE_PATIENCE_S))
        self._inbox.put(events.Released(Key.of(order.lease)))

    def _release_at_once(self, order: events.ReleaseAtOnce) -> None:
        transport = self._transport.with_retry_time(0)
        threads = [_aside(partial(self._give_back, key, transport)) for key in order.keys]
        give_up_at = time.monotonic() + HURRY_S
        for thread in threads:
            thread.join(max(0.0, give_up_at - time.monotonic()))

    def _give_back(self, key: Key, transport: Transport) -> None:
        path = route("trials", key.trial_id, "release")
        with contextlib.suppress(TunefleetError):  # it expires by itself
            transport.post(path, ReleaseRequest(attempt=key.attempt), answer=EndResponse, timeout_s=HURRY_S)

    def _beat(self, order: events.Beat) -> None:
        try:
            answer = self._send_beat(order)
        except TunefleetError as error:
            if self._is_reachable:
                _log.warning("%s Going on trying; trials that run go on.", error)
            self._is_reachable = False
            self._inbox.put(events.BeatFailed(self._next_beat_s()))
            return
        if not self._is_reachable:
            _log.info("the master answers again")
        self._is_reachable = True
        self._inbox.put(events.Beaten(order.keys, tuple(answer.lost), tuple(answer.stop), self._next_beat_s()))

    def _send_beat(self, order: events.Beat, *, patience_s: float = BEAT_PATIENCE_S) -> HeartbeatResponse:
        request = HeartbeatRequest(
            worker=self._identity.name,
            leases=[HeldLease(trial_id=key.trial_id, attempt=key.attempt) for key in order.keys],
            facts=self._identity.facts_with(order.status, resting_s=order.resting_s, is_leaving=order.is_leaving),
        )
        transport = self._transport.with_retry_time(patience_s)
        failpoint("agent.before_beat")
        answer = transport.post("/heartbeats", request, answer=HeartbeatResponse, timeout_s=FIRST_BEAT_S)
        failpoint("agent.after_beat")
        self._heartbeat_s = answer.heartbeat_s
        self._place.note_beat()
        return answer

    def _next_beat_s(self) -> float:
        return self._heartbeat_s * random.uniform(MIN_BEAT_SHARE, 1.0)


def _aside(job: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    return thread


class SerialExecutor:
    """A thread that does one thing after another."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def put(self, job: Callable[[], None]) -> None:
        """Do this when what came before is done."""
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job()
            except Exception:  # a fault of ours: a worker that only seems to work is worse than none
                _log.exception("a fault of the worker; it leaves")
                os.kill(os.getpid(), signal.SIGTERM)

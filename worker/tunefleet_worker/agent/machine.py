"""The agent's state machine: a pure function from a state and an event to the next state and instructions.

After each event the same rules apply in the same order: kill overdue processes, start attempts, drain when idle, exit,
send a heartbeat, claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar

from tunefleet.protocol import MAX_WAIT_S, Failure, Lease, StopOrder, StopReason
from tunefleet.study.durations import spoken
from tunefleet_worker.agent.circuit_breaker import CircuitBreaker
from tunefleet_worker.agent.events import (
    Adopt,
    ChildEnded,
    ChildStarted,
    Claim,
    Claimed,
    ClaimFailed,
    Deliver,
    Delivered,
    Drop,
    Event,
    Exit,
    HeartbeatAnswered,
    HeartbeatFailed,
    Instruction,
    Key,
    Kill,
    LeaseLost,
    Log,
    Recovered,
    Release,
    ReleaseAtOnce,
    Released,
    SendHeartbeat,
    SendOrder,
    SettleClaim,
    SignalReceived,
    Start,
    StopOrdered,
    Tick,
)
from tunefleet_worker.agent.state import (
    GRACE_SHARE,
    LEAVE_SHARE,
    AgentState,
    Attempt,
    KillReason,
    Mode,
    OpenClaim,
    Phase,
)
from tunefleet_worker.orders import Order
from tunefleet_worker.spool import End

STOP_GRACE_S = 30.0  # from a stop order to SIGKILL: longer than most epochs
CLAIM_RETRY_S = 5.0
EMPTY_ANSWER_S = 1.0  # minimum time between two claims when the master answers at once without a lease

T = TypeVar("T")
Step = tuple[AgentState, list[Instruction]]


def on_event(state: AgentState, event: Event, *, now: float) -> Step:
    """Return the next state and the instructions; `now` is a monotonic clock in seconds."""
    if state.mode is Mode.EXITED:
        return state, []
    return _apply_in_order(
        state,
        now,
        lambda state, now: _HANDLERS[type(event)](state, event, now),
        _kill_overdue,
        _start_unblocked,
        _leave_when_idle,
        _exit_when_drained,
        _send_heartbeat,
        _claim,
    )


# --- Event handlers ---------------------------------------------------------------------------------------------------


def _claimed(state: AgentState, event: Claimed, now: float) -> Step:
    claim = state.claim
    if claim is None or claim.request_id != event.request_id:
        return state, []
    if event.settles or not claim.is_settling:
        came_at_once = now - claim.sent_at < EMPTY_ANSWER_S
        pause_s = EMPTY_ANSWER_S if not event.leases and came_at_once else 0.0
        state = replace(state, claim=None, claim_at=now + pause_s)
    return _apply_each(state, event.leases, _accept)


def _accept(state: AgentState, lease: Lease) -> Step:
    """Accept a lease into a free slot, or release it when there is none; ignore a known lease."""
    key = Key.of(lease)
    siblings = [each for each in state.attempts if each.lease.trial_id == lease.trial_id]
    if key in state.releasing or any(each.lease.attempt >= lease.attempt for each in siblings):
        return state, []
    if state.mode is not Mode.WORKING or not state.free_slots:
        return replace(state, releasing=state.releasing | {key}), [Release(lease)]
    # The master leased the trial again, so the older attempt has lost its lease.
    state, out = _apply_each(state, [each.key for each in siblings], _lose_lease)
    attempt = Attempt(lease, state.free_slots[0], Phase.BLOCKED, is_half_open=state.breaker.is_open)
    return state.with_attempt(attempt), out


def _claim_failed(state: AgentState, event: ClaimFailed, now: float) -> Step:
    claim = state.claim
    if claim is None or claim.request_id != event.request_id:
        return state, []
    if state.mode is Mode.WORKING:
        return replace(state, claim=replace(claim, retry_at=now + CLAIM_RETRY_S)), []
    return (replace(state, claim=None) if event.settles else state), []


def _recovered(state: AgentState, event: Recovered, now: float) -> Step:
    attempt = Attempt(event.lease, None, Phase.DELIVERING)
    end = event.end or End.released("lost")
    return state.with_attempt(attempt), [Adopt(event.lease), Deliver(attempt.key, end)]


def _child_started(state: AgentState, event: ChildStarted, now: float) -> Step:
    attempt = state.find(event.key)
    if attempt is None or attempt.phase is not Phase.STARTING:  # ChildEnded may come before ChildStarted
        return state, []
    timeout_s = attempt.lease.trial_timeout_s
    attempt = replace(attempt, phase=Phase.TRAINING, timeout_at=None if timeout_s is None else now + timeout_s)
    state = state.with_attempt(attempt)
    if attempt.stop is not None:
        return _send_stop(state, attempt, now)
    return _drain_attempt(state, attempt.key, now=now) if state.mode is Mode.DRAINING else (state, [])


def _child_ended(state: AgentState, event: ChildEnded, now: float) -> Step:
    attempt = state.find(event.key)
    if attempt is None or not attempt.has_process:
        return state, []
    if attempt.kill_reason is KillReason.LOST:
        return state.without(event.key), [Drop(event.key)]
    state = state.with_attempt(replace(attempt, phase=Phase.DELIVERING))
    return state, [Deliver(event.key, event.end or _end_of_kill(attempt) or event.exit_end)]


def _end_of_kill(attempt: Attempt) -> End | None:
    """Return the end of an attempt that the agent killed; None when the agent did not kill it."""
    if attempt.kill_reason is KillReason.TIMEOUT:
        limit = spoken(attempt.lease.trial_timeout_s or 0.0)
        return End.failed(Failure.TIMEOUT, f"the attempt did not end within {limit} (trial_timeout)")
    if attempt.kill_reason is KillReason.STOPPED:
        return End.complete()
    return End.released("preempted") if attempt.kill_reason is KillReason.DRAINED else None


def _stop_ordered(state: AgentState, event: StopOrdered, now: float) -> Step:
    return _stop(state, event.key, stop=event.stop, now=now)


def _lease_lost(state: AgentState, event: LeaseLost, now: float) -> Step:
    return _lose_lease(state, event.key)


def _delivered(state: AgentState, event: Delivered, now: float) -> Step:
    attempt = state.find(event.key)
    if attempt is None:
        return state, []
    before, after = state.breaker, state.breaker.after_end(attempt.lease, event.end, answer=event.answer, now=now)
    state = replace(state.without(event.key), breaker=after)
    out: list[Instruction] = [Drop(event.key)]
    if after.open_until == before.open_until:
        return state, out
    return replace(state, heartbeat_at=now), [
        *out,
        Log(_breaker_message(after, now)),
    ]  # the master learns of the cooldown at once


def _breaker_message(breaker: CircuitBreaker, now: float) -> str:
    if not breaker.is_open:
        return "claims trials again"
    return (
        f"{breaker.status(now)}; trying one in {spoken(breaker.cooldown_s)}. After a repair, "
        "restart the worker to make it claim at once"
    )


def _released(state: AgentState, event: Released, now: float) -> Step:
    return replace(state, releasing=state.releasing - {event.key}), []


def _heartbeat_answered(state: AgentState, event: HeartbeatAnswered, now: float) -> Step:
    state = replace(state, is_heartbeat_pending=False, heartbeat_at=now + event.next_in_s)
    # The answer refers to the attempts in the heartbeat; a newer attempt of the same trial may have started since.
    lost = [key for key in event.sent if key.trial_id in event.lost]
    state, out = _apply_each(state, lost, _lose_lease)
    for stop in event.stop:
        keys = [key for key in event.sent if key.trial_id == stop.trial_id]
        state, more = _apply_each(state, keys, partial(_stop, stop=stop, now=now))
        out += more
    return state, out


def _heartbeat_failed(state: AgentState, event: HeartbeatFailed, now: float) -> Step:
    return replace(state, is_heartbeat_pending=False, heartbeat_at=now + event.next_in_s), []


def _signal_received(state: AgentState, event: SignalReceived, now: float) -> Step:
    if state.mode is Mode.WORKING:
        return _drain(state, now, "draining: trials are saved and released; a second signal stops at once")
    keys = tuple(attempt.key for attempt in state.attempts if attempt.phase is not Phase.DELIVERING)
    kills: list[Instruction] = [Kill(attempt.key) for attempt in state.attempts if attempt.has_process]
    return replace(state, mode=Mode.EXITED), [*kills, ReleaseAtOnce(keys), Exit(1)]


_HANDLERS: dict[type[Any], Callable[[AgentState, Any, float], Step]] = {
    Tick: lambda state, _event, _now: (state, []),
    Claimed: _claimed,
    ClaimFailed: _claim_failed,
    Recovered: _recovered,
    ChildStarted: _child_started,
    ChildEnded: _child_ended,
    StopOrdered: _stop_ordered,
    LeaseLost: _lease_lost,
    Delivered: _delivered,
    Released: _released,
    HeartbeatAnswered: _heartbeat_answered,
    HeartbeatFailed: _heartbeat_failed,
    SignalReceived: _signal_received,
}

# --- Steps shared by handlers -----------------------------------------------------------------------------------------


def _lose_lease(state: AgentState, key: Key) -> Step:
    """Kill an attempt whose lease is lost. A delivery continues: the master refuses it if it is too late."""
    attempt = state.find(key)
    if attempt is None or attempt.phase is Phase.DELIVERING:
        return state, []
    if attempt.phase is Phase.BLOCKED:
        return state.without(key), []
    return state.with_attempt(replace(attempt, kill_reason=KillReason.LOST)), [Kill(key)]


def _stop(state: AgentState, key: Key, *, stop: StopOrder, now: float) -> Step:
    attempt = state.find(key)
    if attempt is None or attempt.stop is not None or attempt.phase is Phase.DELIVERING:
        return state, []
    attempt = replace(attempt, stop=stop)
    if attempt.phase is not Phase.TRAINING:  # the order is sent after ChildStarted
        return state.with_attempt(attempt), []
    return _send_stop(state, attempt, now)


def _send_stop(state: AgentState, attempt: Attempt, now: float) -> Step:
    """Send the master's stop order to the process, and start its grace period."""
    stop = attempt.stop
    if stop is None:
        return state, []
    state = state.with_attempt(replace(attempt, kill_at=now + STOP_GRACE_S))
    kind: Literal["stop", "pause"] = "pause" if stop.reason is StopReason.PAUSED else "stop"
    return state, [SendOrder(attempt.key, Order(kind, stop.reason, stop.message))]


def _drain(state: AgentState, now: float, text: str) -> Step:
    state = replace(state, mode=Mode.DRAINING, exit_by=now + LEAVE_SHARE * state.drain_s, heartbeat_at=now)
    out: list[Instruction] = [Log(text)]
    if (claim := state.claim) is not None:
        state = replace(state, claim=replace(claim, is_settling=True, retry_at=None))
        out.append(SettleClaim(claim.request_id, claim.slots))
    keys = [attempt.key for attempt in state.attempts]
    state, more = _apply_each(state, keys, partial(_drain_attempt, now=now))
    return state, out + more


def _drain_attempt(state: AgentState, key: Key, *, now: float) -> Step:
    attempt = state.find(key)
    if attempt is None or attempt.phase is Phase.DELIVERING:
        return state, []
    if attempt.phase is Phase.BLOCKED:
        return replace(state.without(key), releasing=state.releasing | {key}), [Release(attempt.lease)]
    kill_at = now + GRACE_SHARE * state.drain_s
    state = state.with_attempt(replace(attempt, kill_at=min(kill_at, attempt.kill_at or kill_at)))
    return state, [SendOrder(key, Order("drain"))] if attempt.phase is Phase.TRAINING else []


# --- Rules after each event -------------------------------------------------------------------------------------------


def _kill_overdue(state: AgentState, now: float) -> Step:
    overdue = [each for each in state.attempts if any(at <= now for at in each.deadlines)]
    for attempt in overdue:
        state = state.with_attempt(replace(attempt, kill_reason=_kill_reason(attempt, now)))
    return state, [Kill(attempt.key) for attempt in overdue]


def _kill_reason(attempt: Attempt, now: float) -> KillReason:
    if attempt.timeout_at is not None and attempt.timeout_at <= now:
        return KillReason.TIMEOUT
    return KillReason.STOPPED if attempt.stop is not None else KillReason.DRAINED


def _start_unblocked(state: AgentState, now: float) -> Step:
    busy = {attempt.lease.trial_id for attempt in state.attempts if attempt.has_process}
    out: list[Instruction] = []
    for attempt in state.attempts:
        if attempt.phase is Phase.BLOCKED and attempt.slot is not None and attempt.lease.trial_id not in busy:
            state = state.with_attempt(replace(attempt, phase=Phase.STARTING))
            out.append(Start(attempt.lease, attempt.slot))
    return state, out


def _leave_when_idle(state: AgentState, now: float) -> Step:
    if state.attempts:
        return replace(state, idle_since=None), []
    if state.idle_since is None:
        return replace(state, idle_since=now), []
    is_over = state.exit_when_idle_s is not None and now - state.idle_since >= state.exit_when_idle_s
    if is_over and state.mode is Mode.WORKING:
        state = replace(state, exit_code=1 if state.breaker.is_open else 0)
        return _drain(state, now, "leaving: there was no trial to run")
    return state, []


def _exit_when_drained(state: AgentState, now: float) -> Step:
    if state.mode is not Mode.DRAINING:
        return state, []
    if not state.attempts and not state.releasing and state.claim is None:
        return replace(state, mode=Mode.EXITED), [Exit(state.exit_code)]
    if state.exit_by is None or now < state.exit_by:
        return state, []
    out: list[Instruction] = [Kill(attempt.key) for attempt in state.attempts if attempt.has_process]
    if state.attempts:
        out.append(
            Log("leaving although the master did not accept all results; the next worker in this folder delivers them")
        )
    return replace(state, mode=Mode.EXITED), [*out, Exit(state.exit_code)]


def _send_heartbeat(state: AgentState, now: float) -> Step:
    if state.is_heartbeat_pending or now < state.heartbeat_at or state.mode is Mode.EXITED:
        return state, []
    keys = tuple(each.key for each in state.attempts)
    is_leaving = state.mode is Mode.DRAINING
    heartbeat = SendHeartbeat(
        keys, state.status(now), None if is_leaving else state.breaker.cooldown_left_s(now), is_leaving
    )
    return replace(state, is_heartbeat_pending=True), [heartbeat]


def _claim(state: AgentState, now: float) -> Step:
    if state.mode is not Mode.WORKING:
        return state, []
    claim = state.claim
    if claim is None:
        n_slots = state.claimable_slots
        if not n_slots or now < state.earliest_claim_at:
            return state, []
        claim = OpenClaim(f"{state.prefix}-{state.n_claims}", n_slots, now)
        state = replace(state, n_claims=state.n_claims + 1)
    elif claim.retry_at is None or now < claim.retry_at:
        return state, []
    wait_s = MAX_WAIT_S if state.exit_when_idle_s is None else min(MAX_WAIT_S, state.exit_when_idle_s)
    state = replace(state, claim=replace(claim, sent_at=now, retry_at=None))
    return state, [Claim(claim.request_id, claim.slots, wait_s, state.status(now))]


# --- Composition ------------------------------------------------------------------------------------------------------


def _apply_in_order(state: AgentState, now: float, *steps: Callable[[AgentState, float], Step]) -> Step:
    out: list[Instruction] = []
    for step in steps:
        state, more = step(state, now)
        out += more
    return state, out


def _apply_each(state: AgentState, items: Iterable[T], step: Callable[[AgentState, T], Step]) -> Step:
    out: list[Instruction] = []
    for item in items:
        state, more = step(state, item)
        out += more
    return state, out

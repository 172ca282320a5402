"""What an agent does: a pure function from its state and an event to its next state and instructions.

After each event the same questions are asked in the same order: whom to kill, whom to start, whether to leave, whether
to beat, whether to claim.
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
    Beat,
    Beaten,
    BeatFailed,
    ChildEnded,
    ChildStarted,
    Claim,
    Claimed,
    ClaimFailed,
    Deliver,
    Delivered,
    Directed,
    Drop,
    Event,
    Exit,
    Instruction,
    Key,
    Kill,
    LeaseGone,
    Recovered,
    Release,
    ReleaseAtOnce,
    Released,
    Say,
    SettleClaim,
    SignalCame,
    Start,
    Tell,
    Tick,
)
from tunefleet_worker.agent.state import GRACE_SHARE, LEAVE_SHARE, AgentState, Attempt, Fate, Mode, OpenClaim, Phase
from tunefleet_worker.orders import Order
from tunefleet_worker.spool import End

STOP_GRACE_S = 30.0  # from a stop to SIGKILL: an epoch of most trainings
CLAIM_RETRY_S = 5.0
EMPTY_ANSWER_S = 1.0  # the least time between two claims when the master answers at once that there is nothing

T = TypeVar("T")
Step = tuple[AgentState, list[Instruction]]


def on_event(state: AgentState, event: Event, *, now: float) -> Step:
    """The next state, and what to do; `now` is a monotonic clock in seconds."""
    if state.mode is Mode.GONE:
        return state, []
    return _in_turn(
        state,
        now,
        lambda state, now: _REACTIONS[type(event)](state, event, now),
        _kill_overdue,
        _start_unblocked,
        _watch_idleness,
        _leave,
        _beat,
        _claim,
    )


# --- Reactions --------------------------------------------------------------------------------------------------------


def _claimed(state: AgentState, event: Claimed, now: float) -> Step:
    claim = state.claim
    if claim is None or claim.request_id != event.request_id:
        return state, []
    if event.settles or not claim.is_settling:
        came_at_once = now - claim.sent_at < EMPTY_ANSWER_S
        pause_s = EMPTY_ANSWER_S if not event.leases and came_at_once else 0.0
        state = replace(state, claim=None, claim_at=now + pause_s)
    return _each(state, event.leases, _accept)


def _accept(state: AgentState, lease: Lease) -> Step:
    """Take a lease into a slot; one that cannot be taken is given back, one that is known is not taken twice."""
    key = Key.of(lease)
    siblings = [each for each in state.attempts if each.lease.trial_id == lease.trial_id]
    if key in state.releasing or any(each.lease.attempt >= lease.attempt for each in siblings):
        return state, []
    if state.mode is not Mode.WORKING or not state.free_slots:
        return replace(state, releasing=state.releasing | {key}), [Release(lease)]
    # The master gave the trial again, so the older attempt has lost its lease, whether it knows or not.
    state, out = _each(state, [each.key for each in siblings], _lose)
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
    if attempt is None or attempt.phase is not Phase.STARTING:  # a process may end before its start is told
        return state, []
    timeout_s = attempt.lease.trial_timeout_s
    attempt = replace(attempt, phase=Phase.TRAINING, timeout_at=None if timeout_s is None else now + timeout_s)
    state = state.with_attempt(attempt)
    if attempt.stop is not None:
        return _tell(state, attempt, now)
    return _drain_attempt(state, attempt.key, now=now) if state.mode is Mode.DRAINING else (state, [])


def _child_ended(state: AgentState, event: ChildEnded, now: float) -> Step:
    attempt = state.find(event.key)
    if attempt is None or not attempt.has_process:
        return state, []
    if attempt.fate is Fate.LOST:
        return state.without(event.key), [Drop(event.key)]
    state = state.with_attempt(replace(attempt, phase=Phase.DELIVERING))
    return state, [Deliver(event.key, event.end or _end_of_fate(attempt) or event.exit_end)]


def _end_of_fate(attempt: Attempt) -> End | None:
    """What the agent's own killing means; None when it killed nothing."""
    if attempt.fate is Fate.TIMEOUT:
        limit = spoken(attempt.lease.trial_timeout_s or 0.0)
        return End.failed(Failure.TIMEOUT, f"the attempt did not end within {limit} (trial_timeout)")
    if attempt.fate is Fate.STOPPED:
        return End.complete()
    return End.released("preempted") if attempt.fate is Fate.DRAINED else None


def _directed(state: AgentState, event: Directed, now: float) -> Step:
    return _stop(state, event.key, stop=event.stop, now=now)


def _lease_gone(state: AgentState, event: LeaseGone, now: float) -> Step:
    return _lose(state, event.key)


def _delivered(state: AgentState, event: Delivered, now: float) -> Step:
    attempt = state.find(event.key)
    if attempt is None:
        return state, []
    before, after = state.breaker, state.breaker.after(attempt.lease, event.end, answer=event.answer, now=now)
    state = replace(state.without(event.key), breaker=after)
    out: list[Instruction] = [Drop(event.key)]
    if after.rests_until == before.rests_until:
        return state, out
    return replace(state, beat_at=now), [*out, Say(_news_of(after, now))]  # the master should know at once


def _news_of(breaker: CircuitBreaker, now: float) -> str:
    if not breaker.is_open:
        return "claims trials again"
    return (
        f"{breaker.status(now)}; trying one in {spoken(breaker.rest_s)}. When the cause is mended, restart the worker "
        "to have it claim at once"
    )


def _released(state: AgentState, event: Released, now: float) -> Step:
    return replace(state, releasing=state.releasing - {event.key}), []


def _beaten(state: AgentState, event: Beaten, now: float) -> Step:
    state = replace(state, is_beating=False, beat_at=now + event.next_in_s)
    # The answer is about the attempts that were sent; a newer one of the same trial may have come since.
    lost = [key for key in event.sent if key.trial_id in event.lost]
    state, out = _each(state, lost, _lose)
    for stop in event.stop:
        keys = [key for key in event.sent if key.trial_id == stop.trial_id]
        state, more = _each(state, keys, partial(_stop, stop=stop, now=now))
        out += more
    return state, out


def _beat_failed(state: AgentState, event: BeatFailed, now: float) -> Step:
    return replace(state, is_beating=False, beat_at=now + event.next_in_s), []


def _signalled(state: AgentState, event: SignalCame, now: float) -> Step:
    if state.mode is Mode.WORKING:
        return _drain(state, now, "draining: trials are saved and given back; a second signal stops at once")
    keys = tuple(attempt.key for attempt in state.attempts if attempt.phase is not Phase.DELIVERING)
    kills: list[Instruction] = [Kill(attempt.key) for attempt in state.attempts if attempt.has_process]
    return replace(state, mode=Mode.GONE), [*kills, ReleaseAtOnce(keys), Exit(1)]


_REACTIONS: dict[type[Any], Callable[[AgentState, Any, float], Step]] = {
    Tick: lambda state, _event, _now: (state, []),
    Claimed: _claimed,
    ClaimFailed: _claim_failed,
    Recovered: _recovered,
    ChildStarted: _child_started,
    ChildEnded: _child_ended,
    Directed: _directed,
    LeaseGone: _lease_gone,
    Delivered: _delivered,
    Released: _released,
    Beaten: _beaten,
    BeatFailed: _beat_failed,
    SignalCame: _signalled,
}

# --- Parts of reactions -----------------------------------------------------------------------------------------------


def _lose(state: AgentState, key: Key) -> Step:
    """The lease is another's. What is being delivered goes on: the master says by itself that it is too late."""
    attempt = state.find(key)
    if attempt is None or attempt.phase is Phase.DELIVERING:
        return state, []
    if attempt.phase is Phase.BLOCKED:
        return state.without(key), []
    return state.with_attempt(replace(attempt, fate=Fate.LOST)), [Kill(key)]


def _stop(state: AgentState, key: Key, *, stop: StopOrder, now: float) -> Step:
    attempt = state.find(key)
    if attempt is None or attempt.stop is not None or attempt.phase is Phase.DELIVERING:
        return state, []
    attempt = replace(attempt, stop=stop)
    if attempt.phase is not Phase.TRAINING:  # it is told when it has started
        return state.with_attempt(attempt), []
    return _tell(state, attempt, now)


def _tell(state: AgentState, attempt: Attempt, now: float) -> Step:
    """Pass the master's stop on, and give the process a grace."""
    stop = attempt.stop
    if stop is None:
        return state, []
    state = state.with_attempt(replace(attempt, kill_at=now + STOP_GRACE_S))
    kind: Literal["stop", "pause"] = "pause" if stop.reason is StopReason.PAUSED else "stop"
    return state, [Tell(attempt.key, Order(kind, stop.reason, stop.message))]


def _drain(state: AgentState, now: float, text: str) -> Step:
    state = replace(state, mode=Mode.DRAINING, exit_by=now + LEAVE_SHARE * state.drain_s, beat_at=now)
    out: list[Instruction] = [Say(text)]
    if (claim := state.claim) is not None:
        state = replace(state, claim=replace(claim, is_settling=True, retry_at=None))
        out.append(SettleClaim(claim.request_id, claim.slots))
    keys = [attempt.key for attempt in state.attempts]
    state, more = _each(state, keys, partial(_drain_attempt, now=now))
    return state, out + more


def _drain_attempt(state: AgentState, key: Key, *, now: float) -> Step:
    attempt = state.find(key)
    if attempt is None or attempt.phase is Phase.DELIVERING:
        return state, []
    if attempt.phase is Phase.BLOCKED:
        return replace(state.without(key), releasing=state.releasing | {key}), [Release(attempt.lease)]
    kill_at = now + GRACE_SHARE * state.drain_s
    state = state.with_attempt(replace(attempt, kill_at=min(kill_at, attempt.kill_at or kill_at)))
    return state, [Tell(key, Order("drain"))] if attempt.phase is Phase.TRAINING else []


# --- The questions after each event -----------------------------------------------------------------------------------


def _kill_overdue(state: AgentState, now: float) -> Step:
    overdue = [each for each in state.attempts if any(at <= now for at in each.deadlines)]
    for attempt in overdue:
        state = state.with_attempt(replace(attempt, fate=_fate(attempt, now)))
    return state, [Kill(attempt.key) for attempt in overdue]


def _fate(attempt: Attempt, now: float) -> Fate:
    if attempt.timeout_at is not None and attempt.timeout_at <= now:
        return Fate.TIMEOUT
    return Fate.STOPPED if attempt.stop is not None else Fate.DRAINED


def _start_unblocked(state: AgentState, now: float) -> Step:
    busy = {attempt.lease.trial_id for attempt in state.attempts if attempt.has_process}
    out: list[Instruction] = []
    for attempt in state.attempts:
        if attempt.phase is Phase.BLOCKED and attempt.slot is not None and attempt.lease.trial_id not in busy:
            state = state.with_attempt(replace(attempt, phase=Phase.STARTING))
            out.append(Start(attempt.lease, attempt.slot))
    return state, out


def _watch_idleness(state: AgentState, now: float) -> Step:
    if state.attempts:
        return replace(state, idle_since=None), []
    if state.idle_since is None:
        return replace(state, idle_since=now), []
    is_over = state.exit_when_idle_s is not None and now - state.idle_since >= state.exit_when_idle_s
    if is_over and state.mode is Mode.WORKING:
        state = replace(state, exit_code=1 if state.breaker.is_open else 0)
        return _drain(state, now, "leaving: there was no trial to run")
    return state, []


def _leave(state: AgentState, now: float) -> Step:
    if state.mode is not Mode.DRAINING:
        return state, []
    if not state.attempts and not state.releasing and state.claim is None:
        return replace(state, mode=Mode.GONE), [Exit(state.exit_code)]
    if state.exit_by is None or now < state.exit_by:
        return state, []
    out: list[Instruction] = [Kill(attempt.key) for attempt in state.attempts if attempt.has_process]
    if state.attempts:
        out.append(Say("leaving without a word from the master; the next worker in this folder delivers what is left"))
    return replace(state, mode=Mode.GONE), [*out, Exit(state.exit_code)]


def _beat(state: AgentState, now: float) -> Step:
    if state.is_beating or now < state.beat_at or state.mode is Mode.GONE:
        return state, []
    keys = tuple(each.key for each in state.attempts)
    is_leaving = state.mode is Mode.DRAINING
    beat = Beat(keys, state.status(now), None if is_leaving else state.breaker.resting_s(now), is_leaving)
    return replace(state, is_beating=True), [beat]


def _claim(state: AgentState, now: float) -> Step:
    if state.mode is not Mode.WORKING:
        return state, []
    claim = state.claim
    if claim is None:
        n_slots = state.claimable_slots
        if not n_slots or now < state.claims_at:
            return state, []
        claim = OpenClaim(f"{state.prefix}-{state.n_claims}", n_slots, now)
        state = replace(state, n_claims=state.n_claims + 1)
    elif claim.retry_at is None or now < claim.retry_at:
        return state, []
    wait_s = MAX_WAIT_S if state.exit_when_idle_s is None else min(MAX_WAIT_S, state.exit_when_idle_s)
    state = replace(state, claim=replace(claim, sent_at=now, retry_at=None))
    return state, [Claim(claim.request_id, claim.slots, wait_s, state.status(now))]


# --- Composition ------------------------------------------------------------------------------------------------------


def _in_turn(state: AgentState, now: float, *steps: Callable[[AgentState, float], Step]) -> Step:
    out: list[Instruction] = []
    for step in steps:
        state, more = step(state, now)
        out += more
    return state, out


def _each(state: AgentState, items: Iterable[T], step: Callable[[AgentState, T], Step]) -> Step:
    out: list[Instruction] = []
    for item in items:
        state, more = step(state, item)
        out += more
    return state, out

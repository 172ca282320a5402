"""Metrics that come in bursts delay no heartbeat, and none is lost."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest
from tests.chaos import amount
from tests.faults.scripted import Script, crew, study_of
from tests.fleet import on_this_machine

from tunefleet.client.transport import Transport
from tunefleet.protocol import HeartbeatRequest, HeartbeatResponse

P99_S = 1.0
EVERY_S = 0.05
N_TRIALS = 10


@contextmanager
def beating(url: str) -> Iterator[Connection]:
    """Heartbeats from a process of their own, which no work of this one delays; it sends their durations at the end."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_beat, args=(url, theirs))
    process.start()
    try:
        ours.recv()  # the first one is answered
        yield ours
    finally:
        process.kill()
        process.join()


def _beat(url: str, told: Connection) -> None:
    took_s = []
    with Transport(url, retry_for_s=0) as transport:
        while not told.poll(EVERY_S):
            begin = time.monotonic()
            transport.post("/heartbeats", HeartbeatRequest(worker="beater"), answer=HeartbeatResponse)
            took_s.append(time.monotonic() - begin)
            if len(took_s) == 1:
                told.send("begun")
    told.send(took_s)


@pytest.mark.timeout(900)
def test_heartbeats_are_answered_within_a_second_while_metrics_pour_in(
    new_fleet: Any, database: Any, ledger: Any
) -> None:
    n_points = amount(10_000, 100_000)
    per_trial = n_points // N_TRIALS
    fleet = new_fleet(database=database)
    fleet.start_master()
    study = fleet.client.submit(study_of("burst", N_TRIALS))
    burst = Script(batches=per_trial // 500, reports=500)
    with beating(fleet.url) as beats:
        with crew(fleet.url, 4, journal=fleet.journal, script=burst) as tally:
            ledger.check_finished(fleet, "burst", N_TRIALS, timeout_s=600)
        beats.send("enough")
        took_s = sorted(beats.recv())
    ledger.fault("metric points in bursts", n_points)
    assert tally.errors == []
    assert all(study.trial(trial.number).last_step == per_trial - 1 for trial in study.trials())
    assert took_s[math.ceil(0.99 * len(took_s)) - 1] < on_this_machine(P99_S)

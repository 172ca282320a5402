"""Clocks that jump by an hour and by two days: the worker's, the master's, the database's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.chaos import IS_CHAOS
from tests.faults.scripted import Script, Tally, crew, study_of
from tests.fleet import Fleet
from tests.postgres import PostgresServer, running_postgres

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
JUMPS = ("+1h", "+2d", "-1h", "+0")
LEASE_S = 3.0
STEADY = Script(batches=5, pause_s=0.1, beat_s=0.3)

pytestmark = [
    pytest.mark.skipif(not IS_CHAOS, reason="chaos only"),
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed: apt-get install faketime"),
    pytest.mark.timeout(600),
]

# Under libfaketime a sleep until a time is refused; waiting for nothing is not.
SLOW = """
import select

def train(trial, x):
    for step in range(20):
        select.select([], [], [], 0.1)
        trial.report(step=step, loss=x + 1 / (step + 1))
"""


@pytest.fixture
def clock() -> Iterator[Path]:
    """A file that sets the clock of every process that `faked` was given to; the database's user can read it."""
    with tempfile.TemporaryDirectory(prefix="tunefleet-clock-") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "clock"
        jump(file, "+0")
        yield file


def jump(clock: Path, to: str) -> None:
    """Let the clock show another time from now on."""
    draft = clock.with_suffix(".draft")
    draft.write_text(f"{to}\n")
    draft.chmod(0o644)
    draft.replace(clock)


def faked(clock: Path) -> dict[str, str]:
    """The environment of a process whose wall clock the file decides; what measures durations goes on as it was."""
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Makes a fleet whose processes are started in full, since a library cannot be put under one that is forked."""
    made: list[Fleet] = []

    def make(database: str | None = None) -> Fleet:
        made.append(Fleet(tmp_path, lease_s=LEASE_S, database=database))
        return made[-1]

    yield make
    for each in made:
        each.close()


def await_results(fleet: Fleet, tally: Tally, n: int) -> None:
    """Wait for so many more results."""
    enough = len(tally.completed) + n
    fleet.wait(lambda: len(tally.completed) >= enough, "the workers work")


def hours_ahead(fleet: Fleet) -> int:
    """How far the clock that decides is ahead of this process's."""
    return round((fleet.client.status().now - datetime.now(UTC)).total_seconds() / 3600)


def work_through_jumps(fleet: Fleet, clock: Path, ledger: Any, whose: str) -> list[int]:
    """Let workers work while the clock jumps; no lease may be lost for it. What the deciding clock showed, in hours."""
    seen = []
    study = fleet.client.submit(study_of("jumping", 400))
    with crew(fleet.url, 4, journal=fleet.journal, script=STEADY) as tally:
        for to in JUMPS:
            await_results(fleet, tally, 8)
            jump(clock, to)
            ledger.fault(f"the {whose}'s clock jumps ({to})")
            await_results(fleet, tally, 16)
            seen.append(hours_ahead(fleet))
        study.pause()
        n_trials = sum(study.view().trials.values())
        study.edit(trials=n_trials)
        study.resume()
        ledger.check_finished(fleet, "jumping", n_trials)
    again = [f"trial {trial.number} has attempt {trial.attempt}" for trial in study.trials() if trial.attempt != 1]
    ledger.check("I2", again, n=n_trials)
    assert (tally.errors, tally.lost) == ([], [])
    return seen


def test_the_clock_of_a_master_on_sqlite_jumps(fleet: Any, clock: Path, ledger: Any) -> None:
    jumping = fleet()
    jumping.environment = faked(clock)
    jumping.start_master()
    assert work_through_jumps(jumping, clock, ledger, "master") == [1, 48, -1, 0]


def test_the_clock_of_postgres_jumps(fleet: Any, clock: Path, ledger: Any, monkeypatch: Any) -> None:
    with monkeypatch.context() as environment:
        for name, value in faked(clock).items():
            environment.setenv(name, value)
        server = PostgresServer()
        server.start()
    try:
        jumping = fleet(server.new_database())
        jumping.start_master()
        assert work_through_jumps(jumping, clock, ledger, "database") == [1, 48, -1, 0]
    finally:
        server.close()


def test_the_clock_of_a_master_on_postgres_jumps(fleet: Any, clock: Path, ledger: Any) -> None:
    with running_postgres() as server:
        jumping = fleet(server.new_database())
        jumping.environment = faked(clock)
        jumping.start_master()
        assert work_through_jumps(jumping, clock, ledger, "master") == [0, 0, 0, 0]  # the database's clock decides


def test_the_clock_of_a_worker_jumps(fleet: Any, clock: Path, ledger: Any) -> None:
    jumping = fleet()
    jumping.start_master()
    jumping.environment = faked(clock)
    study = jumping.submit(SLOW, budget={"trials": 6})
    jumping.start_worker("w", "--no-preload")
    for number, to in enumerate(JUMPS):
        jumping.wait(lambda n=number: study.view().trials.get("complete", 0) > n, "the worker works")
        jump(clock, to)
        ledger.fault(f"the worker's clock jumps ({to})")
    ledger.check_finished(jumping, study.name, 6)
    assert {trial.attempt for trial in study.trials()} == {1}

"""Fleets that are hurt, on both databases, and the table of what their invariants say afterwards."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from tests.chaos import IS_CHAOS
from tests.fleet import Fleet, WarmFleet
from tests.postgres import PostgresDatabases

from tunefleet.protocol import StudyState, TrialState
from tunefleet_master.commands import doctor
from tunefleet_master.settings import Settings

PROMISES = {
    "I1": "each result is counted once",
    "I2": "no trial is lost",
    "I3": "no write of an old attempt is accepted",
    "I4": "a budget of N ends with N finished trials",
    "I5": "what was acknowledged is in the database",
    "I6": "proposals can be repeated, and none comes twice",
    "I7": "a drained worker leaves in 25 s with a whole checkpoint, and it counts as no failure",
    "I8": "a poison trial is set aside, and the others run on",
    "I9": "no child is left 2 s after its agent died",
    "I10": "every listed file is whole",
    "I11": "no 5xx but 503 while the database is away",
    "state": "states and what goes with them agree",
    "pages": "the database finds no fault with itself",
}


@dataclass
class Line:
    """One invariant over a whole run."""

    promise: str
    checked: int = 0
    violations: list[str] = field(default_factory=list)


@dataclass
class Ledger:
    """What was tried in this run, and what was found."""

    lines: dict[str, Line] = field(default_factory=lambda: {key: Line(text) for key, text in PROMISES.items()})
    faults: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def fault(self, what: str, n: int = 1) -> None:
        """A fault was made."""
        self.faults[what] += n

    def check(self, invariant: str, violations: Sequence[str], *, n: int = 1) -> None:
        """An invariant was checked on so many things; fails when there is a violation."""
        self.lines[invariant].checked += n
        self.lines[invariant].violations += violations
        assert list(violations) == [], f"{invariant}: {PROMISES[invariant]}"

    def check_stored(self, fleet: Fleet) -> None:
        """Check everything that the doctor can check, with the journal of all clients."""
        settings = Settings.parse({"data": fleet.data, "database": fleet.database})
        journals = [fleet.journal] if fleet.journal.exists() else []
        found = doctor.checks(settings, journals)
        for check in found:
            self.lines[check.invariant].checked += check.n_checked
            self.lines[check.invariant].violations += check.violations
        assert {check.invariant: list(check.violations) for check in found if check.violations} == {}

    def check_finished(self, fleet: Fleet, study: str, n: int, *, timeout_s: float = 300.0) -> None:
        """Wait until the faults are over and the study is complete with n trials, then check what is stored."""
        stands = fleet.client.study(study)
        fleet.wait(lambda: stands.view().state is StudyState.COMPLETE, f"{study} is complete", timeout_s=timeout_s)
        found = stands.view().trials
        self.check("I2", [] if found == {TrialState.COMPLETE: n} else [f"{study}: {found}, and not {n} complete"], n=n)
        self.check_stored(fleet)

    def rows(self) -> dict[str, object]:
        """For a report."""
        return {"faults": dict(self.faults), "invariants": {key: asdict(line) for key, line in self.lines.items()}}


_LEDGER = pytest.StashKey[Ledger]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEDGER] = Ledger()


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """Of the whole run."""
    return request.config.stash[_LEDGER]


@pytest.fixture
def new_fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Makes fleets without a process yet, and ends all their processes."""
    with ExitStack() as stack:

        def make(name: str = "fleet", *, database: str | None = None, lease_s: float = 6.0) -> Fleet:
            folder = tmp_path / name
            folder.mkdir()
            fleet = WarmFleet(folder, lease_s=lease_s, database=database)
            stack.callback(fleet.close)
            return fleet

        yield make


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The URL of an empty database of each kind; None: SQLite in the fleet's folder."""
    if request.param == "sqlite":
        yield None
        return
    server: PostgresDatabases = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop_database(url)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The table comes last, behind everything that pytest has to say."""
    ledger = config.stash[_LEDGER]
    report = os.environ.get("CHAOS_REPORT")
    if report and not hasattr(config, "workerinput"):
        Path(report).write_text(json.dumps(ledger.rows(), indent=2) + "\n")
    if not IS_CHAOS:
        return
    print("\nfaults")
    for fault, n in ledger.faults.items():
        print(f"{n:>9}  {fault}")
    print(f"\n{'':<7}{'invariant':<86}{'checked':>9}{'violations':>12}")
    for key, line in ledger.lines.items():
        print(f"{key:<7}{line.promise:<86}{line.checked:>9}{len(line.violations):>12}")

"""What holds for every test: the same numbers on every run, and nothing of the machine's own settings."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.postgres import PostgresServer, running_postgres

# Tests share few cores with each other and with the processes that they start; one thread each is fastest.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run, and no limit on the time of one: a busy machine is not a failure.
settings.register_profile("tunefleet", derandomize=True, deadline=None)
settings.load_profile("tunefleet")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch):
    """Tests never talk to the master, or with the token, of whoever runs them."""
    for name in [name for name in os.environ if name.startswith("TUNEFLEET_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests of this process; each takes databases of its own."""
    with running_postgres() as server:
        yield server

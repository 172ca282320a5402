"""The start, refusal and stop of `tunefleet-master`."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from tests.commands import tunefleet_master

STUDY = {
    "name": "study",
    "objective": {"metric": "val_loss", "goal": "minimize"},
    "run": {"task": "image_classification", "dataset": "digits"},
    "space": {"lr": {"log": [1e-5, 0.1]}},
    "steps": 5,
    "resources": {"labels": ["nobody-has-it"]},
    "budget": {"trials": 1},
}


def refused(*arguments: str, **variables: str) -> str:
    """Run a start that must fail; return the one line that it prints with exit code 2."""
    ran = tunefleet_master(*arguments, **variables)
    assert ran.returncode == 2, ran.stderr
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    return errors[0]


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    return ["--port", "0", "--data", str(tmp_path / "data")]


def test_the_address_is_printed_once_it_listens(start_master) -> None:
    master = start_master(is_cold=True)

    assert httpx.get(f"{master.url}/readyz").status_code == 200
    line = next(line for line in master.log.read_text().splitlines() if line.startswith("Tunefleet master on "))
    assert line.startswith(f"Tunefleet master on {master.url} (database sqlite:////")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_seconds_whatever_is_open(start_master, number) -> None:
    master = start_master(is_cold=True)
    with httpx.Client(base_url=f"{master.url}/api/v1", timeout=60) as http:
        assert http.post("/studies", json=STUDY).status_code == 201
        answers = []
        claim = threading.Thread(
            target=lambda: answers.append(http.post("/claims", json={"worker": "w1", "wait_s": 25}))
        )
        with http.stream("GET", "/studies/study/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            claim.start()
            while not http.get("/workers").json():
                pass

            code, seconds = master.stop(number)

            list(lines)  # the stream ends, and is not cut
        claim.join()

    assert (code, seconds < 15) == (0, True), master.log.read_text()  # before the wait of the claim is over
    assert answers[0].json()["leases"] == []
    assert "Traceback" not in master.log.read_text()


def test_acknowledged_writes_survive_a_kill(start_master, tmp_path: Path) -> None:
    first = start_master()
    assert httpx.post(f"{first.url}/api/v1/studies", json=STUDY).status_code == 201
    first.stop(signal.SIGKILL)
    (tmp_path / "url").unlink()

    second = start_master()

    assert httpx.get(f"{second.url}/api/v1/studies/study").json()["name"] == "study"


def test_a_port_in_use_is_named(data) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        error = refused("serve", *data, "--port", str(port))

    assert f"port {port} on 127.0.0.1 is in use" in error
    assert "--port" in error


def test_the_first_start_of_a_remote_master_creates_an_admin_token_and_shows_it_once(start_master) -> None:
    first = start_master("--host", "0.0.0.0")
    link = re.search(r"http://\S+/login\?token=(\S+)", first.log.read_text())
    assert link is not None
    header = {"Authorization": f"Bearer {link[1]}"}
    assert httpx.get(f"{first.url}/api/v1/status").status_code == 401
    assert httpx.get(f"{first.url}/api/v1/tokens", headers=header).json()[0]["name"] == "first-admin"
    first.stop()
    (first.folder / "url").unlink()

    second = start_master("--host", "0.0.0.0")

    assert "token=" not in second.log.read_text()
    assert httpx.get(f"{second.url}/api/v1/status", headers=header).status_code == 200
    assert link[1].encode() not in b"".join(file.read_bytes() for file in (first.folder / "data").glob("tunefleet.db*"))


def test_a_remote_master_with_a_given_token_creates_none(start_master) -> None:
    master = start_master("--host", "0.0.0.0", "--token", "a-long-secret")

    assert "token=" not in master.log.read_text()
    assert httpx.get(f"{master.url}/api/v1/tokens", headers={"Authorization": "Bearer a-long-secret"}).json() == []


def test_an_unknown_host_is_named(data) -> None:
    error = refused("serve", *data, "--host", "203.0.113.7", TUNEFLEET_TOKEN="a-long-secret")

    assert "203.0.113.7" in error


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    error = refused("serve", "--port", "0", "--data", str(tmp_path / "data"))

    assert str(tmp_path / "data") in error
    assert "--data" in error


def test_a_second_master_on_the_same_database_is_refused(start_master) -> None:
    master = start_master()

    error = refused("serve", "--port", "0", "--data", str(master.folder / "data"))

    assert f"another master (process {master.process.pid})" in error


@pytest.mark.parametrize("command", ["serve", "upgrade"])
def test_a_corrupt_database_is_named_and_left_alone(tmp_path: Path, command) -> None:
    (tmp_path / "tunefleet.db").write_bytes(b"not a database at all" * 1_000)

    error = refused(command, "--data", str(tmp_path))

    assert "not a SQLite database" in error or "corrupt" in error
    assert (tmp_path / "tunefleet.db").read_bytes() == b"not a database at all" * 1_000


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    assert tunefleet_master("upgrade", "--data", str(tmp_path)).returncode == 0
    with sqlite3.connect(tmp_path / "tunefleet.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    error = refused("serve", "--port", "0", "--data", str(tmp_path))

    assert "newer version" in error
    assert "9999" in error


def test_upgrade_prints_both_revisions(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tunefleet_master", "upgrade", "--data", str(tmp_path)]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    again = tunefleet_master("upgrade", "--data", str(tmp_path))

    assert first.stdout.startswith("empty -> 0")
    assert again.stdout.endswith(": nothing to do\n")


def test_a_wrong_option_is_named(data) -> None:
    ran = tunefleet_master("serve", *data, "--lease-s", "-1")

    assert ran.returncode == 2
    assert "lease_s" in ran.stderr


def test_settings_are_read_from_the_environment(tmp_path: Path) -> None:
    ran = tunefleet_master("upgrade", TUNEFLEET_HOME=str(tmp_path / "home"))

    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "home" / "tunefleet.db").exists()


def test_help_imports_nothing_unneeded() -> None:
    code = (
        "import sys, tunefleet_master.cli as cli\n"
        "try: cli.app(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted(set(sys.modules) & {'fastapi', 'sqlalchemy', 'uvicorn', 'numpy', 'scipy'}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines()[-1] == "[]"

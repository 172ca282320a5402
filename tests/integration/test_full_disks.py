"""A disk that is really full: under the database and under the files, each once.

The master says so, loses nothing that it has acknowledged, and goes on by itself when there is room again (I5).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.postgres import PostgresServer

CHUNK = bytes(64 * 1024)
GOES_ON_WITHIN_S = 120.0
CONTENT = bytes(range(256)) * 16_000


STUDY: dict[str, Any] = {
    "name": "study",
    "objective": {"metric": "val_accuracy", "goal": "maximize"},
    "run": {"task": "image_classification", "dataset": "digits"},
    "space": {"lr": {"log": [1e-5, 1e-1]}},
    "steps": 5,
    "budget": {"trials": 4},
}


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Take every byte that is left."""
        with (self.path / "ballast").open("ab", buffering=0) as file:
            for chunk in (CHUNK, bytes(512), b"x"):
                with suppress(OSError):
                    while True:
                        file.write(chunk)
        assert shutil.disk_usage(self.path).free == 0

    def free(self) -> None:
        """Give it back."""
        (self.path / "ballast").unlink()


class Reporter:
    """Holds a trial and reports its steps, one at a time; remembers what was acknowledged."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        assert self.http.post("/studies", json=STUDY).status_code == 201
        [self.lease] = self.http.post("/claims", json={"worker": "w1", "wait_s": 20}).json()["leases"]
        self.acknowledged: dict[int, float] = {}
        self.step = 0

    def move(self, url: str) -> None:
        self.http.base_url = httpx.URL(f"{url}/api/v1")

    def report(self) -> httpx.Response:
        self.step += 1
        metrics = {f"m{i}_{'x' * 60}": float(i) for i in range(100)} | {"val_accuracy": self.step / 1e6}
        body = {"attempt": 1, "reports": [{"step": self.step, "metrics": metrics}]}
        answer = self.http.post(f"/trials/{self.lease['trial_id']}/reports", json=body)
        if answer.is_success:
            self.acknowledged[self.step] = self.step / 1e6
        return answer

    def until(self, is_reached: Callable[[httpx.Response], bool]) -> httpx.Response:
        end = time.monotonic() + GOES_ON_WITHIN_S
        while not is_reached(answer := self.report()):
            assert time.monotonic() < end, answer.text
        return answer

    def kept(self) -> dict[int, float]:
        found = self.http.get(f"/trials/{self.lease['trial_id']}", params={"max_points": 100_000}).json()
        return {point["step"]: point["metrics"]["val_accuracy"] for point in found["curve"]}


@pytest.fixture
def report_to() -> Iterator[Callable[[str], Reporter]]:
    """Make the one that reports to a master."""
    with httpx.Client(timeout=120) as http:

        def make(url: str) -> Reporter:
            http.base_url = httpx.URL(f"{url}/api/v1")
            return Reporter(http)

        yield make


@pytest.fixture
def make_disk() -> Iterator[Callable[[int], Disk]]:
    """Mount small file systems; they are gone at the end of the test."""
    mounted: list[Path] = []

    def make(size_mb: int) -> Disk:
        path = Path(tempfile.mkdtemp(prefix="tunefleet-disk-"))
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(path)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"only who may mount a small disk can fill one: {done.stderr.strip()}")
        mounted.append(path)
        path.chmod(0o755)  # a server that runs as another user enters it
        return Disk(path)

    if shutil.which("mount") is None:
        pytest.skip("there is no `mount` here to make a small disk with")
    yield make
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
        path.rmdir()


def test_a_full_disk_under_sqlite_loses_nothing_and_the_master_goes_on(
    make_disk: Callable[[int], Disk], start_master: Callable[..., Any], report_to: Callable[[str], Reporter]
) -> None:
    disk = make_disk(8)
    master = start_master("--database", f"sqlite:///{disk.path / 'master.db'}")
    reporter = report_to(master.url)
    for _ in range(20):
        assert reporter.report().is_success

    disk.fill()
    refused = reporter.until(lambda answer: not answer.is_success)
    assert (refused.status_code, refused.json()["code"]) == (503, "storage_unusable")
    assert "disk of the database is full" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) > 0
    assert reporter.http.get("/studies").is_success, "reading needs no room"
    disk.free()
    reporter.until(lambda answer: answer.is_success)

    master.process.kill()
    master.process.wait()
    (master.folder / "url").unlink()
    again = start_master("--database", f"sqlite:///{disk.path / 'master.db'}")
    reporter.move(again.url)
    assert reporter.acknowledged.items() <= reporter.kept().items()


def test_a_full_disk_under_postgres_loses_nothing_and_the_master_goes_on(
    make_disk: Callable[[int], Disk],
    start_master: Callable[..., Any],
    report_to: Callable[[str], Reporter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = make_disk(160)
    monkeypatch.setattr(tempfile, "tempdir", str(disk.path))
    server = PostgresServer(settings={"restart_after_crash": "on"})
    try:
        server.start()
        reporter = report_to(start_master("--database", server.url()).url)
        for _ in range(20):
            assert reporter.report().is_success

        disk.fill()
        refused = reporter.until(lambda answer: not answer.is_success)
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unusable")
        disk.free()
        reporter.until(lambda answer: answer.is_success)

        assert reporter.acknowledged.items() <= reporter.kept().items()
    finally:
        server.close()


def test_a_full_disk_under_the_files_loses_none_that_was_stored(
    make_disk: Callable[[int], Disk],
    start_master: Callable[..., Any],
    report_to: Callable[[str], Reporter],
    tmp_path: Path,
) -> None:
    disk = make_disk(12)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "artifacts").symlink_to(disk.path)
    master = start_master("--database", f"sqlite:///{tmp_path / 'master.db'}")
    reporter = report_to(master.url)

    def put(name: str, content: bytes) -> httpx.Response:
        query: dict[str, Any] = {"attempt": 1, "sha256": hashlib.sha256(content).hexdigest()}
        return reporter.http.put(
            f"/trials/{reporter.lease['trial_id']}/artifacts/{name}", params=query, content=content
        )

    assert put("first", CONTENT).status_code == 201
    disk.fill()
    refused = put("second", CONTENT + b"!")
    assert (refused.status_code, refused.json()["code"]) == (503, "storage_unusable")
    assert "the disk is full" in refused.json()["detail"]
    assert reporter.report().is_success, "the database has its own disk"
    disk.free()
    assert put("second", CONTENT + b"!").status_code == 201

    for name, content in (("first", CONTENT), ("second", CONTENT + b"!")):
        assert reporter.http.get(f"/trials/{reporter.lease['trial_id']}/artifacts/{name}").content == content
    assert list((disk.path / "partial").iterdir()) == []

"""Workers by script: they claim, report and complete over plain HTTP and train nothing, so that thousands fit."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.journaled import journaled

from tunefleet.client.artifacts import upload
from tunefleet.client.transport import route
from tunefleet.errors import Conflict, NotFound, TunefleetError
from tunefleet.protocol import (
    ClaimRequest,
    ClaimResponse,
    CompleteRequest,
    Directive,
    EndResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    HeldLease,
    Lease,
    Report,
    ReportBatch,
    WorkerFacts,
)
from tunefleet.study.spec import StudySpec

FACTS = WorkerFacts(allow_code=True)


@dataclass(frozen=True)
class Script:
    """What a worker does with each trial: so many batches of so many reports, with a pause behind each batch.

    Attributes:
        file_bytes: the length of a file that each trial stores; 0: it stores none.
        beat_s: between two heartbeats of a thread of its own; None: only the reports keep the lease.
    """

    batches: int = 3
    reports: int = 1
    pause_s: float = 0.0
    file_bytes: int = 0
    beat_s: float | None = None


@dataclass
class Tally:
    """What the workers of a crew have seen."""

    completed: list[tuple[str, int]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def study_of(name: str, trials: int, **changes: object) -> StudySpec:
    """A study for scripted workers, with a seeded search."""
    data: dict[str, object] = {
        "name": name,
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"function": "train:train"},
        "space": {"x": {"float": [0, 1]}, "kind": ["a", "b", "c"]},
        "search": {"sampler": "random", "seed": 7},
        "budget": {"trials": trials},
    }
    return StudySpec.parse({**data, **changes})


class ScriptedWorker(threading.Thread):
    """One worker; it tries each call until it is answered, and drops a trial that it has lost.

    Attributes:
        wait_s: how long a claim waits for a trial.
    """

    wait_s = 1.0

    def __init__(
        self, url: str, name: str, *, script: Script, tally: Tally, journal: Path, stop: threading.Event
    ) -> None:
        super().__init__(name=name, daemon=True)
        transport = journaled(url, journal, retry_for_s=None, stop=stop)
        if script.beat_s is not None:  # leases are short, and so are the waits: else a lost claim is repeated too late
            transport = transport.with_max_wait(script.beat_s)
        self._transport = transport
        self._script = script
        self._tally = tally
        self._stop_event = stop
        self._held: list[HeldLease] = []

    def run(self) -> None:
        """Work until the crew is stopped."""
        if self._script.beat_s is not None:
            threading.Thread(target=self._beat, args=(self._script.beat_s,), daemon=True).start()
        with self._transport:
            while not self._stop_event.is_set():
                try:
                    for lease in self._claim():
                        self._held = [HeldLease(trial_id=lease.trial_id, attempt=lease.attempt)]
                        self._work(lease)
                        self._held = []
                except TunefleetError as error:
                    if self._stop_event.is_set():  # a call that is not tried again tells what it met last
                        return
                    self._tally.errors.append(f"{self.name}: {type(error).__name__}: {error}")
                    self._stop_event.wait(0.1)

    def _claim(self) -> list[Lease]:
        request = ClaimRequest(worker=self.name, wait_s=self.wait_s, request_id=uuid.uuid4().hex, facts=FACTS)
        return self._transport.post("/claims", request, answer=ClaimResponse, timeout_s=self.wait_s + 20).leases

    def _beat(self, beat_s: float) -> None:
        """As an agent does; a beat that gets no answer is followed by the next one."""
        transport = self._transport.with_retry_time(0)
        while not self._stop_event.wait(beat_s):
            with contextlib.suppress(TunefleetError):
                beat = HeartbeatRequest(worker=self.name, leases=self._held, facts=FACTS)
                transport.post("/heartbeats", beat, answer=HeartbeatResponse)

    def _work(self, lease: Lease) -> None:
        try:
            for batch in range(self._script.batches):
                self._report(lease, batch)
                self._stop_event.wait(self._script.pause_s)
            if self._script.file_bytes:
                self._store(lease)
            body = CompleteRequest(attempt=lease.attempt)
            self._transport.post(route("trials", lease.trial_id, "complete"), body, answer=EndResponse)
            self._tally.completed.append((lease.study, lease.number))
        except (Conflict, NotFound) as error:
            self._tally.lost.append(f"trial {lease.number}, attempt {lease.attempt}: {error}")

    def _store(self, lease: Lease) -> None:
        content = f"{lease.trial_id}-{lease.attempt} ".encode() * self._script.file_bytes
        with tempfile.NamedTemporaryFile() as file:
            file.write(content[: self._script.file_bytes])
            file.flush()
            upload(self._transport, Path(file.name), "result", trial_id=lease.trial_id, attempt=lease.attempt)

    def _report(self, lease: Lease, batch: int) -> None:
        n = self._script.reports
        loss = float(str(lease.params["x"]))
        reports = [
            Report(step=step, metrics={"loss": loss + 1 / (step + 1)}) for step in range(batch * n, batch * n + n)
        ]
        path = route("trials", lease.trial_id, "reports")
        self._transport.post(path, ReportBatch(attempt=lease.attempt, reports=reports), answer=Directive)


@contextmanager
def crew(url: str, n: int, *, journal: Path, script: Script = Script(), name: str = "s") -> Iterator[Tally]:
    """So many scripted workers, which work until the block ends."""
    stop, tally = threading.Event(), Tally()
    workers = [
        ScriptedWorker(url, f"{name}{i}", script=script, tally=tally, journal=journal, stop=stop) for i in range(n)
    ]
    for worker in workers:
        worker.start()
    try:
        yield tally
    finally:
        stop.set()
        for worker in workers:
            worker.join(120)

"""What an agent hands to a training process; imports nothing heavy, since the agent trains nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Job:
    """What a training process needs to know; travels to it pickled, so it holds plain values.

    Attributes:
        url: the master's.
        lease_json: what to run.
        folder: of the attempt.
        code: where the study's code was unpacked, None when it sent none.
        gpus: that the process may see.
        threads: of the processor.
        checkpoint_every_s: the least time between two checkpoints.
    """

    url: str
    lease_json: str
    folder: Path
    code: Path | None
    gpus: tuple[str, ...]
    threads: int
    checkpoint_every_s: float


def do(job: Job, log: Connection, *, orders: Connection) -> None:
    """Run the job; the process's first function. Does not return."""
    from tunefleet_worker.child import main

    main(job, log, orders=orders)

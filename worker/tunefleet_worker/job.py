"""The job that an agent gives to a training process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Job:
    """A trial to run; it is pickled on its way to the process, so it holds plain values.

    Attributes:
        url: the master's URL.
        lease_json: the lease, as JSON.
        folder: the attempt's folder.
        code: the folder with the study's unpacked code; None when the study sends none.
        gpus: ids of the GPUs that the process may use.
        threads: number of CPU threads.
        checkpoint_every_s: minimum time between two checkpoints.
    """

    url: str
    lease_json: str
    folder: Path
    code: Path | None
    gpus: tuple[str, ...]
    threads: int
    checkpoint_every_s: float

"""Upload and download of trials' artifacts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tunefleet.client.transport import Transport, route
from tunefleet.names import TrialId
from tunefleet.protocol import ArtifactRef


def upload(transport: Transport, file: Path, name: str, *, trial_id: TrialId, attempt: int) -> ArtifactRef:
    """Store a file as the trial's artifact `name`; the file must not change during the upload.

    Raises:
        LeaseLost: the attempt no longer holds the trial.
        TooLarge: the file exceeds the master's limit.
    """
    with file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    path = route("trials", trial_id, "artifacts", name)
    return transport.put_file(path, file, answer=ArtifactRef, query={"attempt": attempt, "sha256": sha256})


def download(transport: Transport, artifact: ArtifactRef, to: Path, *, trial_id: TrialId) -> None:
    """Fetch an artifact and check its hash."""
    transport.download(route("trials", trial_id, "artifacts", artifact.name), to, sha256=artifact.sha256)

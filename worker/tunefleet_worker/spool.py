"""The spool of an attempt: the training process's records, as JSON lines in a file that outlives process and agent.

The training process appends records and never waits for the network. The agent reads them and delivers them in order.
The number of a record is its line number. It rises within an attempt, so the master can order two reports of a step.
A last line without a newline is not a record: its writer was killed, or is still writing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from tunefleet.protocol import Failure


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """All metrics of a step so far."""

    kind: ClassVar[str] = "report"
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file to upload; `file` is its name in the attempt's folder of files, `name` the name of the artifact."""

    kind: ClassVar[str] = "file"
    name: str
    file: str


@dataclass(frozen=True, slots=True)
class End:
    """The end of the attempt; the last record.

    `complete` has `metrics` that were not reported; `failed` has `failure`, `message` and `exception`; `released` has
    `reason`.
    """

    kind: ClassVar[str] = "end"
    outcome: Literal["complete", "failed", "released"]
    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: Failure = Failure.ERROR
    message: str = ""
    exception: str | None = None
    reason: Literal["preempted", "lost"] = "preempted"
    preflight: Mapping[str, Any] | None = None
    """The report of a preflight that ran, as plain data."""

    @classmethod
    def complete(cls, metrics: Mapping[str, float] | None = None) -> Self:
        """Return the end of a function that returned, or obeyed a stop."""
        return cls("complete", metrics=metrics or {})

    @classmethod
    def inspected(cls, report: Mapping[str, Any]) -> Self:
        """Return the end of a preflight that ran, whatever its result."""
        return cls("complete", preflight=report)

    @classmethod
    def failed(cls, failure: Failure, message: str, *, exception: str | None = None) -> Self:
        """Return the end of a failed attempt."""
        return cls("failed", failure=failure, message=message, exception=exception)

    @classmethod
    def released(cls, reason: Literal["preempted", "lost"]) -> Self:
        """Return the end of an attempt that is released unfinished."""
        return cls("released", reason=reason)


Record = ReportRecord | FileRecord | End

_KINDS: Mapping[str, type[Record]] = {kind.kind: kind for kind in (ReportRecord, FileRecord, End)}


class SpoolWriter:
    """Appends records; one writer at a time. Truncates an incomplete last line of an earlier writer."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size_bytes = _whole_lines(path.read_bytes())
        os.ftruncate(self._file, self._size_bytes)

    def append(self, record: Record) -> None:
        """Write a record, which then outlives the process.

        Raises OSError, and leaves the spool unchanged, when the disk is full.
        """
        line = json.dumps({"kind": record.kind, **asdict(record)}, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size_bytes)
            raise
        self._size_bytes += len(line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class SpoolReader:
    """Reads the records in order, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._next = 0

    def read(self) -> list[tuple[int, Record]]:
        """Return the records since the last call with their numbers; skip lines that are not records."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: _whole_lines(text)]
        self._offset += len(whole)
        records = []
        for line in whole.splitlines():
            if (record := _record(line)) is not None:
                records.append((self._next, record))
            self._next += 1
        return records


def read_end(path: Path) -> End | None:
    """Return the end in the spool at `path`; None when there is none."""
    ends = [record for _, record in SpoolReader(path).read() if isinstance(record, End)]
    return ends[0] if ends else None


def _whole_lines(text: bytes) -> int:
    return text.rfind(b"\n") + 1


def _record(line: bytes) -> Record | None:
    try:
        data: dict[str, Any] = json.loads(line)
        kind = _KINDS[data.pop("kind")]
        if kind is End:
            data["failure"] = Failure(data["failure"])
        return kind(**data)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None

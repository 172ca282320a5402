"""A client-side journal of acknowledged writes: one JSON line for each answered call that writes.

    TUNEFLEET_JOURNAL=/var/log/tunefleet-journal.jsonl tunefleet-worker run ...
    tunefleet-master doctor --verify --journal /var/log/tunefleet-journal.jsonl

The transport writes a line after it receives the answer and before it returns it to the caller. Processes of one
machine may share a file. The journal contains no tokens.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from tunefleet.errors import InvalidInput, Problem

VARIABLE = "TUNEFLEET_JOURNAL"
Bodies = tuple[bytes | None, bytes | None]
"""The bodies of the request and of the answer."""

_SECRETS = frozenset({"token", "secret", "password"})
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Entry:
    """One call and its answer.

    Attributes:
        path: the path after `/api/v1`.
        request: the body; None when it is not JSON, such as a file.
        answer: the body; None when there is none.
        sent_s, answered_s: seconds on the monotonic clock that `clock` names; times of two clocks are not comparable.
        at: the wall clock in seconds since 1970, for human readers.
    """

    method: str
    path: str
    query: Mapping[str, Any]
    request: Any
    answer: Any
    sent_s: float
    answered_s: float
    clock: str
    at: float


class Journal:
    """An append-only file of entries; each entry is one atomic write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @classmethod
    def from_environment(cls) -> Self | None:
        """Open the journal that TUNEFLEET_JOURNAL names; return None when the variable is unset or empty."""
        path = os.environ.get(VARIABLE)
        return cls(Path(path)) if path else None

    def append(self, method: str, path: str, *, query: Mapping[str, Any], bodies: Bodies, took_s: float) -> None:
        """Append a call that was sent `took_s` seconds ago and answered just now."""
        now_s = time.monotonic()
        request, answer = (_redacted(_parsed(body)) for body in bodies)
        entry = Entry(method, path, query, request, answer, now_s - took_s, now_s, _clock(), time.time())
        # With O_APPEND, one write per line keeps the lines of several processes apart.
        os.write(self._file, json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n")


def entries(path: Path) -> Iterator[Entry]:
    """Yield the entries of a file; skip an incomplete last line.

    Raises InvalidInput when a line is not an entry.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield _entry(path, number, line)


def _entry(path: Path, number: int, line: bytes) -> Entry:
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise InvalidInput([Problem(f"{path}, line {number}", "is not a journal entry", repr(line[:80]))]) from error


def _parsed(body: bytes | None) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def _redacted(body: Any) -> Any:
    """Return the body without tokens, at any depth."""
    if isinstance(body, dict):
        kept = {key: value for key, value in body.items() if not (key in _SECRETS and isinstance(value, str))}
        return {key: _redacted(value) for key, value in kept.items()}
    return [_redacted(each) for each in body] if isinstance(body, list) else body


@cache
def _clock() -> str:
    """Return an id of the monotonic clock: this boot of this machine."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()

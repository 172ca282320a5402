"""What the master has acknowledged, as its clients saw it: one JSON line for each answered call that writes.

    TUNEFLEET_JOURNAL=/var/log/tunefleet-journal.jsonl tunefleet-worker run ...
    tunefleet-master doctor --verify --journal /var/log/tunefleet-journal.jsonl

A line is written after the answer came and before anybody acts on it; many processes of a machine may share a file.
Tokens are left out.
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
"""Of the request and of the answer."""

_SECRETS = frozenset({"token", "secret", "password"})
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Entry:
    """One call and its answer.

    Attributes:
        path: behind `/api/v1`.
        request: the body; None when it was no JSON, such as a file.
        answer: None when it had no body.
        sent_s, answered_s: on the monotonic clock that `clock` names; times of two clocks cannot be compared.
        at: the wall clock, seconds since 1970, for a person.
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
    """A file to which entries are appended, each one whole."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @classmethod
    def from_environment(cls) -> Self | None:
        """The one that TUNEFLEET_JOURNAL names, None when it names none."""
        path = os.environ.get(VARIABLE)
        return cls(Path(path)) if path else None

    def append(self, method: str, path: str, *, query: Mapping[str, Any], bodies: Bodies, took_s: float) -> None:
        """Append a call that was answered just now, and sent `took_s` ago."""
        now_s = time.monotonic()
        request, answer = (_redacted(_parsed(body)) for body in bodies)
        entry = Entry(method, path, query, request, answer, now_s - took_s, now_s, _clock(), time.time())
        # One write to a file that was opened for appending: lines of several processes never mix.
        os.write(self._file, json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n")


def entries(path: Path) -> Iterator[Entry]:
    """The entries of a file; a last line that its writer could not finish is no entry.

    Raises InvalidInput when a line is something else.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield _entry(path, number, line)


def _entry(path: Path, number: int, line: bytes) -> Entry:
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise InvalidInput([Problem(f"{path}, line {number}", "is no entry of a journal", repr(line[:80]))]) from error


def _parsed(body: bytes | None) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def _redacted(body: Any) -> Any:
    """The body without the tokens in it, wherever they stand."""
    if isinstance(body, dict):
        kept = {key: value for key, value in body.items() if not (key in _SECRETS and isinstance(value, str))}
        return {key: _redacted(value) for key, value in kept.items()}
    return [_redacted(each) for each in body] if isinstance(body, list) else body


@cache
def _clock() -> str:
    """What the monotonic clock belongs to: this machine, since it was started."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()

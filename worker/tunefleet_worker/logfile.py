"""A log of bounded size: its beginning and its end, with a line between them that counts the omitted bytes."""

from __future__ import annotations

import threading
from pathlib import Path

HEAD_BYTES = 1_000_000  # enough for a log that a person reads from its beginning
TAIL_BYTES = 64_000  # enough for the traceback at the end
_CUT = "\n[... {} bytes are left out here ...]\n"


class CappedLog:
    """The output of one attempt; one thread may add bytes while another copies the log."""

    def __init__(self, path: Path, *, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES) -> None:
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._lock = threading.Lock()
        self._file = path.open("wb", buffering=0)
        self._path = path
        self._written = 0
        self._tail = bytearray()
        self._total = 0

    @property
    def total_bytes(self) -> int:
        """The number of bytes added so far."""
        return self._total

    def add(self, text: bytes) -> None:
        """Add output. On a full disk the log is incomplete, and the trial continues."""
        with self._lock:
            self._total += len(text)
            room = max(0, self._head_bytes - self._written)
            if room:
                self._write(text[:room])
            if len(text) > room:
                self._tail += text[room:]
                if len(self._tail) > 2 * self._tail_bytes:  # cut rarely, not at every line
                    del self._tail[: -self._tail_bytes]

    def copy_to(self, path: Path) -> None:
        """Copy the current log to another file. Raises OSError when that file cannot be written."""
        with self._lock:
            head, tail, dropped = self._path.read_bytes(), self._end(), self._dropped()
        cut = _CUT.format(dropped).encode() if dropped else b""
        path.write_bytes(head + cut + tail)

    def last(self, n_bytes: int) -> str:
        """Return the last bytes of the log as text."""
        with self._lock:
            end = self._end()
            if len(end) < n_bytes and not self._dropped():
                with self._path.open("rb") as file:
                    file.seek(max(0, self._written + len(end) - n_bytes))
                    end = file.read() + end
        return end[-n_bytes:].decode("utf-8", errors="replace")

    def close(self) -> None:
        """Append the end to the beginning, and close the file; `add` must not be called afterwards."""
        with self._lock:
            if self._file.closed:
                return
            end, dropped = self._end(), self._dropped()
            if end:
                self._write((_CUT.format(dropped).encode() if dropped else b"") + end)
                self._tail.clear()
                self._total = self._written
            self._file.close()

    def _end(self) -> bytes:
        return bytes(self._tail[-self._tail_bytes :])

    def _dropped(self) -> int:
        return self._total - self._written - len(self._tail[-self._tail_bytes :])

    def _write(self, text: bytes) -> None:
        try:
            self._written += self._file.write(text)
        except OSError:  # the disk is full: the rest goes to the end, which is in memory
            self._head_bytes = self._written

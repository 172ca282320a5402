"""Orders from an agent to a training process, through a pipe that never blocks either side.

The other direction of the pipe carries one byte for each new record, so that the agent reads the spool without polling.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Literal

_CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Order:
    """An order to a trial.

    Attributes:
        kind: `stop`: end now with the result so far; `pause`: save, then end as after a stop, since another attempt may
            continue; `drain`: save and end, since another attempt continues.
    """

    kind: Literal["stop", "pause", "drain"]
    reason: str = ""
    message: str = ""


class OrderReceiver:
    """The training process's end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection  # a reference, because a collected connection closes the pipe
        self._file = connection.fileno()
        os.set_blocking(self._file, False)
        self._text = b""
        self._order: Order | None = None

    @property
    def file(self) -> int:
        """The file descriptor to wait on for the next order."""
        return self._file

    def newest(self) -> Order | None:
        """Return the order in force, None without one; a stop replaces the others. Takes about a microsecond."""
        try:
            self._text += os.read(self._file, _CHUNK_BYTES)
        except OSError:
            return self._order
        *lines, self._text = self._text.split(b"\n")
        for line in lines:
            order = Order(**json.loads(line))
            if self._order is None or order.kind == "stop":
                self._order = order
        return self._order

    def notify(self) -> None:
        """Notify the agent of a new record. A full pipe already holds a notification."""
        with contextlib.suppress(OSError):
            os.write(self._file, b".")


class OrderSender:
    """The agent's end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._file = connection.fileno()
        os.set_blocking(self._file, False)

    @property
    def file(self) -> int:
        """The file descriptor to wait on for notifications."""
        return self._file

    def send(self, order: Order) -> None:
        """Send an order to the training process; do nothing if it has ended."""
        with contextlib.suppress(OSError):
            os.write(self._file, json.dumps(asdict(order)).encode() + b"\n")

    def clear_notifications(self) -> bool:
        """Read all pending notifications; return False when the other end is closed."""
        try:
            return os.read(self._file, _CHUNK_BYTES) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

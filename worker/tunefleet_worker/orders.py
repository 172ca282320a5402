"""What an agent tells a training process, through a pipe that is never waited for on either side.

The other direction of the same pipe carries one byte for each thing that the trial told, so that the agent reads the
spool at once instead of looking again and again.
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
    """What a trial is told to do.

    Attributes:
        kind: `stop`: end now, and this is the result; `pause`: save, and end as if stopped, perhaps another attempt
            goes on; `drain`: save and end, another attempt goes on.
    """

    kind: Literal["stop", "pause", "drain"]
    reason: str = ""
    message: str = ""


class OrderReceiver:
    """The training process's end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection  # kept, since the pipe closes when it is collected
        self._file = connection.fileno()
        os.set_blocking(self._file, False)
        self._text = b""
        self._order: Order | None = None

    @property
    def file(self) -> int:
        """The file to wait on for the next order."""
        return self._file

    def newest(self) -> Order | None:
        """The order that holds now, None to go on; a stop outranks the others. Takes about a microsecond."""
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
        """Let the agent know that the spool has grown. A full pipe is a bell that rings already."""
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
        """The file to wait on for the bell."""
        return self._file

    def send(self, order: Order) -> None:
        """Tell the training process; does nothing when it is gone."""
        with contextlib.suppress(OSError):
            os.write(self._file, json.dumps(asdict(order)).encode() + b"\n")

    def clear_notifications(self) -> bool:
        """Take all rings of the bell; False when the other end is closed."""
        try:
            return os.read(self._file, _CHUNK_BYTES) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

"""Log output: one line of text or one JSON object per event.

Fields name the subject of an event: `log.warning("…", extra=about(study="digits", trial=3))`.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Literal, TextIO

LogFormat = Literal["text", "json"]

# The attributes of every record; all others come from `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def about(
    *,
    study: str | None = None,
    trial: int | None = None,
    trial_id: int | None = None,
    attempt: int | None = None,
    worker: str | None = None,
) -> dict[str, object]:
    """Return the fields of a line, for `extra`, without those that are None. `trial` is the number within the study."""
    fields = {"study": study, "trial": trial, "trial_id": trial_id, "attempt": attempt, "worker": worker}
    return {name: value for name, value in fields.items() if value is not None}


class JsonLines(logging.Formatter):
    """A formatter that writes `time` (UTC), `level`, `logger`, `message`, the fixed fields and those of `extra`.

    A traceback becomes the field `traceback`, so each event stays on one line.
    """

    def __init__(self, **fields: object) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; values without a JSON form are written as text."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=str)


def configure(
    level: str, log_format: LogFormat, *, stream: TextIO, text: str, fields: dict[str, object] | None = None
) -> None:
    """Configure the logs of the process.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        log_format: the format of the lines.
        stream: the output stream.
        text: the format string of a text line, in the syntax of `logging`; times are without the date.
        fields: fixed fields of every JSON line.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(**(fields or {})) if log_format == "json" else logging.Formatter(text, "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("httpx", "httpcore"):  # they log every request
        logging.getLogger(name).setLevel(logging.WARNING)

"""How the programs write their logs: one readable line for each event, or one JSON object for each line.

What an event is about goes along as fields: `log.warning("…", extra=about(study="digits", trial=3))`.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Literal, TextIO

LogFormat = Literal["text", "json"]

# What every record has; the rest of its attributes came from `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def about(
    *,
    study: str | None = None,
    trial: int | None = None,
    trial_id: int | None = None,
    attempt: int | None = None,
    worker: str | None = None,
) -> dict[str, object]:
    """The fields of a line, for `extra`: `trial` is the number within the study; what is None is left out."""
    fields = {"study": study, "trial": trial, "trial_id": trial_id, "attempt": attempt, "worker": worker}
    return {name: value for name, value in fields.items() if value is not None}


class JsonLines(logging.Formatter):
    """Writes `time` (UTC), `level`, `logger` and `message`, the fields that every line has, and those of `extra`.

    A traceback is the field `traceback`, so that an event stays on one line.
    """

    def __init__(self, **fields: object) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """The line; what JSON has no form for is written as its text."""
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
    """Send what the process logs to the stream.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        log_format: of the lines.
        stream: where they go.
        text: the format of a line in text, as `logging` has it; times are those of the day.
        fields: what every line in JSON has.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(**(fields or {})) if log_format == "json" else logging.Formatter(text, "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("httpx", "httpcore"):  # which tell of every request
        logging.getLogger(name).setLevel(logging.WARNING)

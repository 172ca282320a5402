"""What the master logs, and where: to stderr."""

from __future__ import annotations

import logging
import sys

from tunefleet import logs
from tunefleet.logs import LogFormat

TEXT = "%(asctime)s %(levelname)-7s %(module)s: %(message)s"


def configure(level: str, log_format: LogFormat = "text") -> None:
    """Send what the master logs to stderr; requests are counted for Prometheus, and not logged."""
    logs.configure(level, log_format, stream=sys.stderr, text=TEXT)
    # What is told at other levels there, our own lines tell.
    for name in ("uvicorn", "alembic", "asyncio", "sqlalchemy", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.WARNING)

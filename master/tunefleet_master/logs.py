"""Logging of the master, to stderr."""

from __future__ import annotations

import logging
import sys

from tunefleet import logs
from tunefleet.logs import LogFormat

TEXT = "%(asctime)s %(levelname)-7s %(module)s: %(message)s"


def configure(level: str, log_format: LogFormat = "text") -> None:
    """Configure logging to stderr; requests are counted for Prometheus instead of logged."""
    logs.configure(level, log_format, stream=sys.stderr, text=TEXT)
    # The master's own log covers what these libraries log at lower levels.
    for name in ("uvicorn", "alembic", "asyncio", "sqlalchemy", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.WARNING)

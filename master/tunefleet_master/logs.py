"""How the master writes its log: one readable line for each event, to stderr."""

from __future__ import annotations

import logging
import sys

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
DATE_FORMAT = "%H:%M:%S"


class ShortNames(logging.Formatter):
    """Names the part of the master, without its package."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        record.name = record.name.rpartition(".")[2]
        return super().format(record)


def configure(level: str) -> None:
    """Send what the master logs to stderr; requests are counted for Prometheus, and not logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ShortNames(FORMAT, DATE_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What is told at other levels there, our own lines tell.
    for name in ("uvicorn", "alembic", "asyncio", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.WARNING)

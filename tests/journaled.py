"""Transports that record acknowledged writes in a journal of their own."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any
from unittest import mock

from tunefleet.client.journal import VARIABLE
from tunefleet.client.transport import Transport

_ENVIRONMENT = threading.Lock()


def journaled(url: str, journal: Path, **options: Any) -> Transport:
    """Return a transport with this journal; it takes the journal from the environment, as in any process."""
    with _ENVIRONMENT, mock.patch.dict(os.environ, {VARIABLE: str(journal)}):
        return Transport(url, **options)

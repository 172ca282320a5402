"""A fleet of real processes for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet import Fleet, WarmFleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A master that runs; workers are started by the test."""
    fleet = WarmFleet(tmp_path)
    try:
        fleet.start_master()
        yield fleet
    finally:
        fleet.close()

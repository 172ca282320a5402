"""How much of everything: the small amounts of `make test`, or with CHAOS=1 the large ones of `make chaos`."""

from __future__ import annotations

import os

IS_CHAOS = os.environ.get("CHAOS", "") not in ("", "0")


def amount(small: int, large: int) -> int:
    """How often a fault is tried in this run."""
    return large if IS_CHAOS else small

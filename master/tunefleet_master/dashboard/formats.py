"""Numbers, times and sizes in readable form."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta

from markupsafe import Markup, escape
from pydantic import JsonValue

MAX_TEXT = 60
UNITS = ("B", "kB", "MB", "GB", "TB")


def number(value: float | None) -> str:
    """Format with four significant digits, integers in full: `0.9722`, `3.1e-05`, `120`."""
    if value is None:
        return "–"
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"


def percent(share: float) -> str:
    """Format a share of 1: `62.4 %`."""
    return f"{100 * share:.1f} %"


def setting(value: JsonValue) -> str:
    """Format a parameter's value, cut to fit a table cell."""
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
        return number(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def exact(value: JsonValue) -> str:
    """Format a value with all its digits, for tooltips."""
    return value if isinstance(value, str) else json.dumps(value)


def duration(seconds: float | None) -> str:
    """Format with the two largest units: `0.8 s`, `12 s`, `3 m 12 s`, `2 h 5 m`, `4 d 3 h`."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    days, rest = divmod(round(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, seconds = divmod(rest, 60)
    units = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    first = next(index for index, (count, _) in enumerate(units) if count)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count)


def between(begin: datetime | None, end: datetime | None) -> float | None:
    """Seconds from one time to the other; None if one of them is None."""
    return None if begin is None or end is None else (end - begin).total_seconds()


def ago(moment: datetime | None, now: datetime) -> str:
    """Format the time since a moment: `just now`, `3 m 12 s ago`."""
    if moment is None:
        return "–"
    return "just now" if now - moment < timedelta(seconds=2) else f"{duration((now - moment).total_seconds())} ago"


def moment(value: datetime | None) -> str:
    """Format a time of the master's clock: `2026-01-31 14:05:09 UTC`."""
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def size(count: int) -> str:
    """Format bytes in decimal units: `1.2 MB`."""
    amount = float(count)
    for unit in UNITS[:-1]:
        if amount < 1_000:
            return f"{amount:.3g} {unit}"
        amount /= 1_000
    return f"{amount:.3g} {UNITS[-1]}"


def prose(text: str) -> Markup:
    """Convert a docstring to HTML: text in backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))

"""Durations as users write and read them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from tunefleet.study.durations import Seconds, spoken

SECONDS: TypeAdapter[float] = TypeAdapter(Seconds)


@pytest.mark.parametrize(
    ("written", "read_s"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("1.5h", 5400), (" 2 h ", 7200), (5, 5), (0.5, 0.5)],
)
def test_a_duration_is_read_in_seconds(written: object, read_s: float) -> None:
    assert SECONDS.validate_python(written) == read_s


@pytest.mark.parametrize(
    "written", ["2", "h", "2 hours", "-1s", "1h30m", "", 0, -5, float("nan"), float("inf"), "9999d", None]
)
def test_an_invalid_duration_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        SECONDS.validate_python(written)


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (42.4, "42 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3600, "1 h 00 min"),
        (7810, "2 h 10 min"),
    ],
)
def test_a_duration_is_spoken_as_a_person_would(duration_s: float, text: str) -> None:
    assert spoken(duration_s) == text

"""Rules for the learning-rate schedules of a built-in task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tunefleet.catalogue.schedules import PERIODIC, PERIODS, READERS
from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.parameters import Parameter, extremes


def schedule_problems(space: Mapping[str, Parameter], *, lengths: Sequence[int]) -> Iterator[Problem]:
    """Yield parameters that a schedule needs, that no schedule reads, or that exceed the length of a trial.

    Args:
        space: a space whose values the task accepts.
        lengths: the epochs of a trial in each stage; empty if the study does not set them.
    """
    names = [str(name) for name in extremes(space["schedule"])] if "schedule" in space else ["constant"]
    yield from _missing(space, names)
    for key, readers in READERS.items():
        if key in space and not set(names) & set(readers):
            rule = f"is read by the schedules {', '.join(readers)} only, but the study has none of them; leave it out"
            yield Problem(f"space.{key}", rule)
    if lengths:
        yield from _too_long(space, shortest=min(lengths), longest=max(lengths))


def _missing(space: Mapping[str, Parameter], names: Sequence[str]) -> Iterator[Problem]:
    needy = [name for name in names if name in PERIODIC]
    if needy and "period" not in space:
        rule = f"is required by the schedule {needy[0]!r}: {PERIODS[needy[0]]}, such as `period: {{fixed: 5}}`"
        yield Problem("space.period", rule)


def _too_long(space: Mapping[str, Parameter], *, shortest: int, longest: int) -> Iterator[Problem]:
    if "period" in space:
        period = min(value for value in extremes(space["period"]) if isinstance(value, int))
        if period > longest:
            rule = f"must be at most the {longest} steps of a trial; otherwise the schedule never acts"
            yield Problem("space.period", rule, shown(period))
    if "warmup" in space:
        warmup = max(value for value in extremes(space["warmup"]) if isinstance(value, int | float))
        if warmup >= shortest:
            rule = f"must be below the {shortest} steps of a trial; otherwise the trial ends before the rate is reached"
            yield Problem("space.warmup", rule, shown(warmup))

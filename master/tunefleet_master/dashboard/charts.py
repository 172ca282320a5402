"""Learning curves as SVG geometry: lines, positions and axes. Pure; the template draws it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tunefleet.protocol import Point, TrialView
from tunefleet.protocol.findings import EffectView
from tunefleet.study.objective import Objective
from tunefleet_master.dashboard.formats import number

WIDTH, HEIGHT = 640.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 16.0, 12.0, 32.0
N_TICKS = 5
MAX_LINES = 6  # more lines cannot be told apart
LOG_FROM_RATIO = 50.0  # above this ratio, a linear axis hides the small values

# Words for a part of the data, as the first or last word of a metric's name.
PARTS = ("train", "val", "valid", "validation", "test", "eval", "dev")


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its position and its label."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One metric: its path, its last value and its style."""

    name: str
    path: str
    dots: tuple[tuple[float, float], ...]
    last: str
    style: int


@dataclass(frozen=True, slots=True)
class Chart:
    """One family of metrics over the steps."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    is_log: bool
    summary: str


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values from low to high onto the drawing from begin to end."""

    low: float
    high: float
    begin: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """The position of a value in the drawing."""
        low, high, value = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)


def charts_of(curve: Sequence[Point], *, leave_out: Collection[str] = ()) -> list[Chart]:
    """One chart per family of metrics, in the order of their first reports."""
    families: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for point in curve for name in point.metrics if name not in leave_out):
        families.setdefault(family_of(name), []).append(name)
    charts = [_chart(title, names[:MAX_LINES], curve) for title, names in families.items()]
    return [chart for chart in charts if chart is not None]


def family_of(metric: str) -> str:
    """The quantity that a metric measures on any part of the data: `loss` for `val_loss` and `train/loss`."""
    words = [word for word in metric.replace("/", "_").split("_") if word]
    while len(words) > 1 and words[0].lower() in PARTS:
        words = words[1:]
    if len(words) > 1 and words[-1].lower() in PARTS:
        words = words[:-1]
    return "_".join(words) or metric


def _chart(title: str, names: Sequence[str], curve: Sequence[Point]) -> Chart | None:
    series = {name: _finite(name, curve) for name in names}
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    x = _x_axis([step for points in series.values() for step, _ in points])
    y = _y_axis([value for points in series.values() for _, value in points])
    lines = tuple(_line(name, points, x, y, style) for style, (name, points) in enumerate(series.items()))
    x_ticks = tuple(Tick(x.at(value), number(value)) for value in nice_ticks(x.low, x.high) if value == int(value))
    y_ticks = tuple(Tick(y.at(value), number(value)) for value in _tick_values(y))
    summary = "; ".join(f"{line.name} ends at {line.last}" for line in lines)
    return Chart(title, lines, x_ticks, y_ticks, y.is_log, summary)


@dataclass(frozen=True, slots=True)
class FrontChart:
    """The trials on a Pareto front by their first two objectives.

    Attributes:
        axes: the metrics along x and y.
        dots: position, id and number of each trial.
        x_ticks: ticks of the first metric.
        y_ticks: ticks of the second metric.
    """

    axes: tuple[str, str]
    dots: tuple[tuple[float, float, int, int], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def front_chart(objectives: Sequence[Objective], trials: Sequence[TrialView]) -> FrontChart | None:
    """The chart of a front with two objectives; None for more objectives, or without trials."""
    placed = [(*trial.values, trial) for trial in trials if trial.values is not None and len(trial.values) == 2]
    if not placed:
        return None
    x = _value_axis([first for first, _, _ in placed], LEFT, WIDTH - RIGHT)
    y = _y_axis([second for _, second, _ in placed])
    return FrontChart(
        axes=(objectives[0].metric, objectives[1].metric),
        dots=tuple(
            (round(x.at(first), 1), round(y.at(second), 1), trial.id, trial.number) for first, second, trial in placed
        ),
        x_ticks=tuple(Tick(x.at(value), number(value)) for value in _tick_values(x)),
        y_ticks=tuple(Tick(y.at(value), number(value)) for value in _tick_values(y)),
    )


def _finite(name: str, curve: Sequence[Point]) -> list[tuple[int, float]]:
    return [
        (point.step, point.metrics[name])
        for point in curve
        if name in point.metrics and math.isfinite(point.metrics[name])
    ]


def _x_axis(steps: Sequence[int]) -> Axis:
    low, high = min(steps), max(steps)
    return Axis(low, high if high > low else low + 1, LEFT, WIDTH - RIGHT)


def _y_axis(values: Sequence[float]) -> Axis:
    return _value_axis(values, HEIGHT - BOTTOM, TOP)


def _value_axis(values: Sequence[float], begin: float, end: float) -> Axis:
    low, high = min(values), max(values)
    is_log = low > 0 and high / low > LOG_FROM_RATIO
    if is_log:
        return Axis(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)), begin, end, True)
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 0.5
    ceiling = 1.0 if low >= 0 and high <= 1 < high + margin else high + margin  # a share is at most 1
    return Axis(low - margin if low < 0 or low > margin else 0.0, ceiling, begin, end)


def _tick_values(axis: Axis) -> list[float]:
    if not axis.is_log:
        return nice_ticks(axis.low, axis.high)
    first, last = round(math.log10(axis.low)), round(math.log10(axis.high))
    every = math.ceil((last - first + 1) / N_TICKS)
    return [10.0**power for power in range(first, last + 1, every)]


def nice_ticks(low: float, high: float) -> list[float]:
    """About five round numbers from low to high, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / N_TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = unit * next(multiple for multiple in (1, 2, 5, 10) if multiple * unit >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _line(name: str, points: Sequence[tuple[int, float]], x: Axis, y: Axis, style: int) -> Line:
    drawn = [(round(x.at(step), 1), round(y.at(value), 1)) for step, value in points]
    path = "M" + "L".join(f"{at_x:g},{at_y:g}" for at_x, at_y in drawn)
    dots = tuple(drawn) if len(drawn) <= 30 else (drawn[-1],)
    return Line(name, path, dots, number(points[-1][1]), style)


def shares(counts: Mapping[str, int], total: int) -> list[tuple[str, float, float]]:
    """The segments of a bar of width 100: (name, begin, width), in the given order; a total of 0 gives none."""
    segments, begin = [], 0.0
    for name, count in counts.items():
        width = 100.0 * count / total if total else 0.0
        if width:
            segments.append((name, round(begin, 3), round(width, 3)))
        begin += width
    return segments


def importance_bar(effect: EffectView) -> list[tuple[str, float, float]]:
    """The segments of a bar of width 100: what a parameter explains alone, and only together with others."""
    alone = min(1.0, max(0.0, effect.share))
    together = min(1.0, max(alone, effect.total)) - alone
    segments = [("alone", 0.0, 100 * alone), ("together", 100 * alone, 100 * together)]
    return [(name, round(begin, 3), round(width, 3)) for name, begin, width in segments if width > 0]

"""Computations of the pages: numbers as text, curves as geometry."""

from __future__ import annotations

import math

import pytest

from tunefleet.protocol import Point
from tunefleet.protocol.findings import EffectView
from tunefleet_master.dashboard import charts, formats


def curve(**series: list[float]) -> list[Point]:
    length = max(len(values) for values in series.values())
    return [
        Point(step=step, metrics={name: values[step] for name, values in series.items() if step < len(values)})
        for step in range(length)
    ]


@pytest.mark.parametrize(
    ("metric", "family"),
    [
        ("train_loss", "loss"),
        ("val/loss", "loss"),
        ("train_eval_loss", "loss"),
        ("accuracy_test", "accuracy"),
        ("validation_top_5", "top_5"),
        ("lr", "lr"),
        ("train", "train"),
    ],
)
def test_metrics_of_one_kind_share_a_chart(metric, family) -> None:
    assert charts.family_of(metric) == family


def test_train_and_validation_are_lines_of_one_chart() -> None:
    drawn = charts.charts_of(curve(train_loss=[2, 1], val_loss=[2.2, 1.3], val_accuracy=[0.1, 0.5]))

    assert [(chart.title, [line.name for line in chart.lines]) for chart in drawn] == [
        ("loss", ["train_loss", "val_loss"]),
        ("accuracy", ["val_accuracy"]),
    ]
    assert drawn[0].lines[1].last == "1.3"


def test_lines_stay_inside_the_axes() -> None:
    for values in ([2.0, 1.0, 0.5], [0.0, 0.0], [-3.0, 4.0], [1e-6, 1e3], [5.0]):
        (chart,) = charts.charts_of(curve(loss=values))
        for x, y in chart.lines[0].dots:
            assert charts.LEFT <= x <= charts.WIDTH - charts.RIGHT
            assert charts.TOP <= y <= charts.HEIGHT - charts.BOTTOM


def test_values_that_cannot_be_drawn_are_left_out() -> None:
    (chart,) = charts.charts_of(curve(loss=[1.0, math.nan, 0.5, math.inf]))

    assert len(chart.lines[0].dots) == 2
    assert charts.charts_of(curve(loss=[math.nan])) == []
    assert charts.charts_of([]) == []


def test_values_over_orders_of_magnitude_get_a_log_axis() -> None:
    assert charts.charts_of(curve(loss=[100.0, 0.1]))[0].is_log
    assert not charts.charts_of(curve(loss=[2.0, 0.1]))[0].is_log


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0, 19, [0, 5, 10, 15]), (-0.3, 0.3, [-0.2, 0, 0.2]), (0, 1e-7, None)],
)
def test_ticks_are_round_numbers(low, high, ticks) -> None:
    found = charts.nice_ticks(low, high)

    assert 3 <= len(found) <= 8
    assert ticks is None or found == pytest.approx(ticks)


def test_shares_fill_a_bar() -> None:
    assert charts.shares({"complete": 3, "failed": 0, "running": 1}, 8) == [
        ("complete", 0.0, 37.5),
        ("running", 37.5, 12.5),
    ]
    assert charts.shares({"complete": 0}, 0) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.97222, "0.9722"), (3.14159e-5, "3.142e-05"), (120.0, "120"), (7, "7"), (math.nan, "nan")],
)
def test_numbers_have_four_digits(value, text) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.84, "0.8 s"),
        (9.97, "10 s"),
        (59.7, "1 m"),
        (192, "3 m 12 s"),
        (7_500, "2 h 5 m"),
        (86_400, "1 d"),
        (-3, "0.0 s"),
    ],
)
def test_durations_have_two_units(seconds, text) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1_234, "1.23 kB"), (2_500_000_000, "2.5 GB")])
def test_sizes_are_decimal(count, text) -> None:
    assert formats.size(count) == text


@pytest.mark.parametrize(("value", "text"), [(True, "true"), ("adam", "adam"), ([1, 2], "[1, 2]"), (0.1, "0.1")])
def test_settings_are_shown_as_they_were_written(value, text) -> None:
    assert formats.setting(value) == text


def test_prose_marks_code_and_escapes_the_rest() -> None:
    assert formats.prose("`a<b>` & c") == "<code>a&lt;b&gt;</code> &amp; c"


def test_an_importance_bar_has_a_segment_for_alone_and_one_for_together() -> None:
    def bar(share: float, total: float) -> list[tuple[str, float, float]]:
        return charts.importance_bar(EffectView(parameter="lr", share=share, spread=0.1, total=total))

    assert bar(0.25, 0.75) == [("alone", 0.0, 25.0), ("together", 25.0, 50.0)]
    assert bar(0.0, 0.0) == []
    assert bar(1.0, 0.9) == [("alone", 0.0, 100.0)]

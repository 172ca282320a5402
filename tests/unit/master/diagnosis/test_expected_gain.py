"""The expected gain of the remaining budget."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from tests.unit.master.diagnosis.study_views import random_study_view, spec_of, study_view_of

from tunefleet_master.diagnosis.expected_gain import (
    ExpectedGain,
    _gains,
    best_curve,
    expected_gain,
    negligible_gain,
)
from tunefleet_master.diagnosis.study_view import StudyView
from tunefleet_master.search.history import Change, Outcome, Values


def view_of(values: list[float], **more: Any) -> StudyView:
    results = iter(values)
    spec = spec_of({"x": {"float": [0, 1]}}, **more)
    return study_view_of(spec, lambda params: next(results), [{"x": 0.001 * i} for i in range(len(values))])


def drawn(generator: np.random.Generator, n: int, *, d: int, noise: float) -> Values:
    """Random search on a quadratic in d dimensions."""
    centre, weights = 0.2 + 0.6 * generator.random(d), 0.3 + generator.random(d)
    bowl = (weights * (generator.random((n, d)) - centre) ** 2).sum(axis=1)
    return np.asarray(bowl + noise * generator.standard_normal(n))


def learnt_values(generator: np.random.Generator, n: int, *, d: int, noise: float) -> Values:
    """A sampler that learns: most trials are steps from the best so far, some short and some long."""
    centre, weights = 0.2 + 0.6 * generator.random(d), 0.3 + generator.random(d)
    best, best_value, values = np.full(d, 0.5), math.inf, []
    for i in range(n):
        step = generator.choice([0.2, 0.05, 0.02]) * generator.standard_normal(d)
        point = generator.random(d) if i < 10 or generator.random() < 0.2 else np.clip(best + step, 0, 1)
        value = float((weights * (point - centre) ** 2).sum())
        if value < best_value:
            best, best_value = point, value
        values.append(value + noise * generator.standard_normal())
    return np.array(values)


@pytest.mark.parametrize(("draw", "learns", "least"), [(drawn, False, 0.74), (learnt_values, True, 0.7)])
def test_the_interval_holds_the_gain_in_about_four_of_five_studies(draw: Any, learns: bool, least: float) -> None:
    held = []
    cases = itertools.product((2, 4), (0.0, 0.1), ((20, 20), (40, 20), (60, 60)), range(12))
    for d, noise, (n, n_more), seed in cases:
        values = draw(np.random.default_rng([seed, d, n]), n + n_more, d=d, noise=noise)
        gains = _gains(values[:n], n_more, learns=learns)
        at_least = 0.0 if (gains <= 0).mean() >= 0.1 else np.quantile(gains, 0.1)
        at_most = np.quantile(gains, 0.8 if at_least == 0 else 0.9)
        held.append(at_least <= values[:n].min() - values.min() <= at_most)
    # 144 studies: twice the standard error is .07.
    assert least <= np.mean(held) <= 0.92


def test_the_chance_of_a_gain_in_random_search_is_that_of_a_record() -> None:
    values = np.random.default_rng(0).random(40)
    gains = _gains(values, 60, learns=False)
    assert (gains > 0).mean() == pytest.approx(60 / 100, abs=0.03)


def test_the_expected_gain_is_that_of_more_draws() -> None:
    # Exponential tails gain ln(growth) scales on average, whatever the values are.
    every = np.log(np.random.default_rng(1).random((200, 40)))
    expected = [_gains(values, 40, learns=False).mean() for values in every[:60]]
    assert np.mean(expected) == pytest.approx(math.log(2), rel=0.3)


def test_the_gain_is_in_the_users_own_sense_and_units() -> None:
    generator = np.random.default_rng(0)
    losses = drawn(generator, 40, d=3, noise=0).tolist()
    down = gain_of(view_of(losses, budget={"trials": 60}))
    up = gain_of(view_of(losses, goal="maximize", budget={"trials": 60}))
    scaled = gain_of(view_of([10 * loss for loss in losses], budget={"trials": 60}))
    assert (down.n_trials, down.n_more) == (40, 20)
    assert down.best == min(losses)
    assert up.best == -min(losses)
    assert up.gain == down.gain > 0
    assert scaled.gain == pytest.approx(10 * down.gain)
    assert 0 == down.low < down.high
    assert down.sentence.startswith("The 20 trials to come are expected to improve val_loss by ")
    assert "val_loss" in down.sentence


def gain_of(view: StudyView) -> ExpectedGain:
    found = expected_gain(view.history, view.spec)
    assert found is not None
    return found


def test_more_trials_gain_more_and_a_sampler_that_finds_records_gains_more_than_chance() -> None:
    values = [1 / (1 + i) + 0.001 * (i % 3) for i in range(40)]
    view = view_of(values)
    few, many = (expected_gain(view.history, view.spec, n_more=n) for n in (10, 100))
    learning = view_of(values, sampler="auto")
    learnt = expected_gain(learning.history, learning.spec, n_more=10)
    assert few is not None
    assert many is not None
    assert learnt is not None
    assert few.gain < many.gain
    assert few.chance < learnt.chance


def test_the_gain_is_unknown_with_few_trials_or_without_an_end() -> None:
    view = view_of([float(i) for i in range(19)], budget={"trials": 60})
    assert expected_gain(view.history, view.spec) is None
    for budget in ({"trials": 30}, {"hours": 2}, {}):
        over = view_of([float(i) for i in range(30)], budget=budget)
        assert expected_gain(over.history, over.spec) is None
    assert expected_gain(over.history, over.spec, n_more=5) is not None


def test_equal_best_values_leave_nothing_to_gain() -> None:
    view = view_of([0.5] * 30 + [1.0] * 10, budget={"trials": 100})
    found = gain_of(view)
    assert (found.gain, found.high, found.chance) == (0.0, 0.0, 0.0)


def test_trials_that_failed_or_were_stopped_count_as_draws_and_are_never_the_best() -> None:
    view = view_of([1.0 + 0.1 * i for i in range(20)] + [math.inf] * 10)
    view.history.fold([Change(30, Outcome.PRUNED, params={"x": 0.9}, values=(0.2,), steps=1)])
    found = expected_gain(view.history, view.spec, n_more=10)
    assert found is not None
    assert found.n_trials == 31
    assert found.best == 1.0


def test_a_stagnating_search_has_a_negligible_gain() -> None:
    generator = np.random.default_rng(0)
    stood = [*(1 + generator.random(30)), *(0.1 + 1e-5 * generator.random(60))]
    (finding,) = negligible_gain(view_of(stood, budget={"trials": 100}))
    assert "expected to improve" in finding.sentence
    moving = drawn(generator, 30, d=6, noise=0).tolist()
    assert list(negligible_gain(view_of(moving, budget={"trials": 100}))) == []


def test_the_curve_is_the_mean_over_all_subsets() -> None:
    values = [3.0, 1.0, 2.0, 5.0, 4.0]
    view = view_of(values)
    curve = best_curve(view.history, view.spec)
    assert curve is not None
    assert curve.sizes.tolist() == [1, 2, 3, 4, 5]
    for k, mean, low, high in zip(curve.sizes, curve.mean, curve.low, curve.high, strict=True):
        best = np.array([min(subset) for subset in itertools.combinations(values, int(k))])
        assert mean == pytest.approx(best.mean())
        assert low == np.quantile(best, 0.1, method="inverted_cdf")
        assert high == np.quantile(best, 0.9, method="inverted_cdf")


def test_the_curve_of_many_trials_has_few_points_and_the_users_sense() -> None:
    spec = spec_of({"x": {"float": [0, 1]}}, goal="maximize")
    view = random_study_view(spec, lambda p: p["x"], 5_000)
    curve = best_curve(view.history, spec)
    assert curve is not None
    assert len(curve.sizes) <= 60
    assert curve.sizes[-1] == 5_000
    assert (np.diff(curve.mean) > 0).all()
    assert (curve.high <= curve.low).all()
    assert best_curve(study_view_of(spec, lambda p: 0.0, []).history, spec) is None

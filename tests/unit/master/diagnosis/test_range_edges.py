"""The best trials at the edge of a range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from tests.unit.master.diagnosis.study_views import random_study_view, spec_of, study_view_of, with_edit

from tunefleet.study.parameters import Parameter
from tunefleet_master.diagnosis.range_edges import best_at_edge, widened
from tunefleet_master.diagnosis.study_view import StudyView

SPACE: dict[str, Any] = {
    "lr": {"log": [1e-6, 1e-3]},
    "width": {"int": [16, 512], "log": True},
    "dropout": {"float": [0.0, 0.6]},
    "layers": {"int": [1, 4]},
    "optimizer": ["sgd", "adam"],
    "idle": {"float": [-1, 1]},
}


def loss_with_best_rate(rate: float, *, noise: np.random.Generator) -> Any:
    """A loss with other optima inside their ranges, and parameters without effect."""

    def loss(params: dict[str, Any]) -> float:
        off = (math.log10(params["lr"]) - math.log10(rate)) / 3
        width = (math.log2(params["width"]) - 6.5) / 5
        return float(
            off**2
            + width**2
            + (params["dropout"] - 0.25) ** 2
            + 0.05 * abs(params["layers"] - 2)
            + (0.2 if params["optimizer"] == "sgd" else 0)
            + 0.02 * noise.standard_normal()
        )

    return loss


def study(seed: int, *, rate: float, n: int = 60) -> StudyView:
    return random_study_view(spec_of(SPACE), loss_with_best_rate(rate, noise=np.random.default_rng(seed)), n, seed=seed)


def test_an_optimum_beyond_the_range_is_found_and_the_range_widened() -> None:
    found = [list(best_at_edge(study(seed, rate=1e-2))) for seed in range(40)]
    (first,) = found[0]
    assert first.edit == {"lr": {"log": [1e-6, 1e-2]}}
    assert "upper edge of lr, 0.001" in first.sentence
    assert sum("lr" in (finding.edit or {}) for findings in found for finding in findings) >= 36
    assert with_edit(spec_of(SPACE), first.edit).space["lr"].bounds == (1e-6, 1e-2)  # type: ignore[union-attr]


def test_optima_inside_their_ranges_raise_few_false_alarms() -> None:
    assert sum(bool(list(best_at_edge(study(seed, rate=3e-5)))) for seed in range(40)) <= 2


def test_a_parameter_without_effect_raises_no_alarm_if_a_sampler_exploits() -> None:
    def loss(params: dict[str, Any]) -> float:
        return float((params["x"] - 0.4) ** 2)

    # A sampler that follows what worked tries what is good in x with idle values that are all high.
    generator = np.random.default_rng(0)
    wide = [{"x": float(x), "idle": float(i)} for x, i in generator.random((15, 2))]
    crowd = [{"x": float(0.4 + 0.05 * e), "idle": 0.9 + 0.1 * float(u)} for e, u in generator.random((25, 2))]
    spec = spec_of({"x": {"float": [0, 1]}, "idle": {"float": [0, 1]}})
    assert list(best_at_edge(study_view_of(spec, loss, wide + crowd))) == []


def test_maximised_objectives_are_understood() -> None:
    spec = spec_of({"x": {"float": [0, 4]}, "y": {"float": [0, 1]}}, goal="maximize")
    (finding,) = best_at_edge(random_study_view(spec, lambda p: -p["x"] + (p["y"] - 0.5) ** 2, 40))
    assert finding.edit == {"x": {"float": [0.0, 6.0]}}


def test_choices_and_few_trials_give_no_finding() -> None:
    spec = spec_of({"c": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "x": {"float": [0, 4]}})
    assert list(best_at_edge(random_study_view(spec, lambda p: p["c"] + (p["x"] - 2) ** 2, 60))) == []
    assert list(best_at_edge(random_study_view(spec_of({"x": {"float": [1, 9]}}), lambda p: p["x"], 9))) == []


def test_a_conditional_parameter_is_judged_by_trials_in_which_it_is_active() -> None:
    spec = spec_of({"on": ["a", "b"], "x": {"float": [1, 9], "when": "on == 'a'"}})
    (finding,) = best_at_edge(random_study_view(spec, lambda p: p.get("x", 5.0), 60))
    assert finding.edit == {"x": {"float": [0.1, 9.0], "when": "on == 'a'"}}


@pytest.mark.parametrize(
    ("parameter", "upper", "bounds"),
    [
        ({"log": [1e-6, 1e-3]}, True, (1e-6, 1e-2)),
        ({"log": [1e-6, 1e-3]}, False, (1e-7, 1e-3)),
        ({"float": [-2, 2]}, True, (-2, 4)),
        ({"float": [-2, 2]}, False, (-4, 2)),
        ({"float": [0, 0.5]}, True, (0, 0.75)),
        ({"float": [0, 0.9]}, True, (0, 0.99)),
        ({"float": [0, 1]}, True, None),
        ({"float": [0, 0.5]}, False, None),
        ({"float": [0.1, 0.5]}, False, (0.01, 0.5)),
        ({"float": [3, 5]}, False, (2, 5)),
        ({"int": [1, 8]}, True, (1, 12)),
        ({"int": [1, 8]}, False, None),
        ({"int": [0, 8]}, False, None),
        ({"int": [-5, 5]}, False, (-10, 5)),
        ({"int": [16, 256], "log": True}, False, (2, 256)),
        ({"int": [16, 256], "log": True}, True, (16, 2560)),
        ({"log": [1e300, 1e308]}, True, None),
    ],
)
def test_ranges_are_widened_as_far_as_they_can_go_on(parameter: Any, upper: bool, bounds: Any) -> None:
    found = widened(TypeAdapter(Parameter).validate_python(parameter), upper=upper)  # type: ignore[arg-type]
    assert found == (None if bounds is None else pytest.approx(bounds))

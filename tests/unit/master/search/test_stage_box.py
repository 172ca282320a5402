from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tests.unit.master.search.search_runs import number, space_of

from tunefleet.study.parameters import Choice
from tunefleet.study.space import Configuration, Space
from tunefleet_master.search.history import Change, Edit, History, Outcome
from tunefleet_master.search.observations import collect_observations
from tunefleet_master.search.stage_box import Box, box_around_best

SPACE = space_of(
    {
        "lr": {"log": [1e-6, 1]},
        "width": {"int": [1, 100]},
        "kind": ["a", "b", "c"],
        "momentum": {"float": [0, 1], "when": "kind == 'a'"},
        "n": {"fixed": 3},
    }
)


def ended(
    space: Space, loss: Callable[[Configuration], float], n: int, *, seed: int = 0, box: Space | None = None
) -> History:
    """Return a history after a first stage of `n` random trials."""
    history = History(space, stages=[n])
    if box is not None:
        history.fold([Edit(box)])
    generator = np.random.default_rng(seed)
    for i in range(n):
        params = (box or space).from_unit(dict(zip(space.names, generator.random(len(space.names)), strict=True)))
        history.fold([Change(i, Outcome.PENDING, params), Change(i, Outcome.COMPLETE, values=(loss(params),), steps=1)])
    return history


def bounds(box: Box, name: str) -> tuple[float, float]:
    low, high = box.parameters[name].bounds  # type: ignore[union-attr]
    return float(low), float(high)


def near(lr: float) -> Callable[[Configuration], float]:
    return lambda params: abs(math.log10(number(params, "lr") / lr))


def test_a_range_closes_around_the_best_in_its_own_scale() -> None:
    box = box_around_best(ended(SPACE, near(1e-3), 60), SPACE, stage=0, keep=0.2)
    low, high = bounds(box, "lr")
    assert low < 1e-3 < high
    assert 1.4 < math.log10(high / low) < 3  # of six decades, the best fifth are 1.2


@pytest.mark.parametrize("seed", range(10))
def test_the_optimum_is_rarely_lost(seed: int) -> None:
    box = box_around_best(ended(SPACE, near(1e-2), 30, seed=seed), SPACE, stage=0, keep=0.25)
    low, high = bounds(box, "lr")
    assert low <= 1e-2 <= high


def test_no_range_shrinks_to_less_than_a_quarter_in_one_stage() -> None:
    box = box_around_best(ended(SPACE, near(1e-3), 1_000), SPACE, stage=0, keep=0.003)
    low, high = bounds(box, "lr")
    assert math.log10(high / low) == pytest.approx(6 / 4, abs=0.02)


def test_integers_are_rounded_outwards() -> None:
    box = box_around_best(ended(SPACE, lambda params: abs(number(params, "width") - 40), 60), SPACE, stage=0, keep=0.1)
    low, high = bounds(box, "width")
    assert low < 40 < high
    assert 24 <= high - low <= 30
    assert low == int(low)


def test_a_choice_that_is_common_but_never_among_the_best_is_dropped() -> None:
    history = ended(SPACE, lambda params: {"a": 0, "b": 1, "c": 9}[str(params["kind"])], 60)
    kind = box_around_best(history, SPACE, stage=0, keep=0.3).parameters["kind"]
    assert isinstance(kind, Choice)
    assert kind.choice == ("a", "b")


def test_a_rare_choice_stays() -> None:
    history = ended(SPACE, lambda params: {"a": 0, "b": 1, "c": 9}[str(params["kind"])], 9)
    assert "kind" not in box_around_best(history, SPACE, stage=0, keep=0.3).parameters


def test_a_parameter_active_in_few_of_the_best_stays() -> None:
    history = ended(SPACE, lambda params: float(params["kind"] == "a") + number(params, "lr"), 60)
    assert "momentum" not in box_around_best(history, SPACE, stage=0, keep=0.2).parameters


def test_the_box_grows_if_the_best_lie_at_an_edge_inside_the_users_bounds() -> None:
    narrow = space_of(
        {
            **{name: each.model_dump(by_alias=True) for name, each in SPACE.parameters.items()},
            "lr": {"log": [1e-5, 1e-4]},
        }
    )
    box = box_around_best(ended(SPACE, near(1e-2), 40, box=narrow), SPACE, stage=0, keep=0.25)
    assert bounds(box, "lr")[1] == pytest.approx(10**-3.5, rel=0.01)


def test_the_box_never_leaves_the_users_own_space() -> None:
    box = box_around_best(ended(SPACE, near(1), 40), SPACE, stage=0, keep=0.25)
    assert bounds(box, "lr")[1] == 1


@pytest.mark.parametrize("n", [0, 2])
def test_too_few_results_narrow_nothing_and_give_a_reason(n: int) -> None:
    box = box_around_best(ended(SPACE, near(1), n), SPACE, stage=0, keep=0.25)
    assert box.parameters == {}
    assert box.evidence == [f"only {n} trials of the stage have a result"]


def test_the_evidence_lists_each_range_before_and_after() -> None:
    box = box_around_best(ended(SPACE, near(1e-3), 60), SPACE, stage=0, keep=0.2)
    assert box.evidence[0] == "the best 12 of 60 trials"
    assert any(text.startswith("lr: log [1e-06, 1.0] → log [") for text in box.evidence)


def test_trials_of_an_earlier_stage_are_ranked_among_themselves() -> None:
    history = ended(space_of({"x": {"float": [0, 1]}}), lambda params: 100 + number(params, "x"), 40)
    history.fold([Edit(space_of({"x": {"float": [0, 0.3]}}))])
    for i, x in enumerate((0.1, 0.2), start=40):
        history.fold([Change(i, Outcome.PENDING, {"x": x}), Change(i, Outcome.COMPLETE, values=(x,), steps=9)])
    known = collect_observations(history)
    assert known.are_ranks
    stages: Sequence[Any] = history.stages[history.with_outcome(Outcome.COMPLETE)].tolist()
    first, second = (known.scores[np.array(stages) == stage] for stage in (0, 1))
    assert 5 < len(first) < 25
    assert abs(first.mean()) < 1e-9
    assert second[0] < 0 < second[1]

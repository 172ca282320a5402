"""The lookup table of training runs."""

from __future__ import annotations

import math

import pytest

from tunefleet.study.space import Configuration, Space
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.history import History
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.simulation.table import Table
from tunefleet_master.simulation.training_run import TrainingRun

SPACE = StudySpec.parse(
    {
        "name": "s",
        "objective": {"metric": "m", "goal": "minimize"},
        "run": {"function": "a:b"},
        "space": {
            "lr": {"log": [1e-4, 1e-0]},
            "optimizer": ["sgd", "adam"],
            "momentum": {"float": [0.0, 1.0], "when": "optimizer == 'sgd'"},
        },
    }
).search_space


def table_of(space: Space, *configurations: Configuration) -> Table:
    return Table(
        space, configurations, trainings=[TrainingRun((float(i),), (1.0,)) for i in range(len(configurations))]
    )


def test_a_row_is_nearest_to_itself() -> None:
    drawn = RandomSampler(SPACE, seed=0).propose(0, 50, history=History(SPACE))
    rows = [configuration for configuration in drawn if configuration is not None]
    table = table_of(SPACE, *rows)
    assert [table.nearest(row) for row in rows] == list(range(50))
    assert table.train(rows[7]) == table.trainings[7]


def test_numbers_are_near_on_their_own_scale() -> None:
    table = table_of(SPACE, {"lr": 1e-4, "optimizer": "adam"}, {"lr": 1e-1, "optimizer": "adam"})
    assert table.nearest({"lr": 1e-3, "optimizer": "adam"}) == 0


def test_another_choice_is_as_far_as_a_whole_range() -> None:
    table = table_of(SPACE, {"lr": 1e-4, "optimizer": "adam"}, {"lr": 1.0, "optimizer": "sgd", "momentum": 0.5})
    assert table.nearest({"lr": 1.0, "optimizer": "adam"}) == 0


def test_a_parameter_that_is_inactive_in_both_does_not_count() -> None:
    sgd: Configuration = {"lr": 1e-2, "optimizer": "sgd", "momentum": 0.9}
    table = table_of(SPACE, {"lr": 1e-4, "optimizer": "adam"}, sgd, {**sgd, "momentum": 0.1})
    assert table.nearest({"lr": 1e-1, "optimizer": "adam"}) == 0
    assert table.nearest({**sgd, "momentum": 0.3}) == 2


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(ValueError, match="0 configurations"):
        table_of(SPACE)


def test_parameters_that_determine_results_determine_the_nearest_row() -> None:
    drawn = RandomSampler(SPACE, seed=0).propose(0, 200, history=History(SPACE))
    rows = [configuration for configuration in drawn if configuration is not None]
    ends = [abs(math.log10(float(str(row["lr"]))) + 2.0) for row in rows]
    table = Table(SPACE, rows, trainings=[TrainingRun((end,), (1.0,)) for end in ends])
    lr, _, momentum = table.weights
    assert lr >= 10 * momentum
    asked: Configuration = {"lr": 1e-2, "optimizer": "sgd", "momentum": 0.5}
    assert table.train(asked).values[-1] < 0.1


def test_weights_of_few_rows_are_equal_and_no_row_is_lost() -> None:
    drawn = RandomSampler(SPACE, seed=1).propose(0, 300, history=History(SPACE))
    rows = [configuration for configuration in drawn if configuration is not None]
    assert list(table_of(SPACE, *rows[:20]).weights) == [1.0, 1.0, 1.0]
    same = Table(SPACE, rows, trainings=[TrainingRun((math.nan,), (1.0,))] * len(rows))
    assert [same.nearest(row) for row in rows] == list(range(300))

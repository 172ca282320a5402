"""The parts of `benchmarks/search.py`, as far as they need none of the peers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from benchmarks.search_quality import baselines, bbob, curves, digits, stored, summary, tasks
from benchmarks.search_quality.cache import Cache
from benchmarks.search_quality.peer import Setting
from benchmarks.search_quality.runs import Plan, Run, run
from benchmarks.search_quality.task import random_draws

from tunefleet.errors import InvalidInput

PLAN = Plan("random", "digits/svm", n_workers=8, seed=3, amount=20)


def test_no_task_is_both_developed_on_and_kept_for_the_end() -> None:
    assert not set(tasks.DEVELOPMENT) & set(tasks.FINAL)
    assert set(tasks.ANCHORS) <= {*tasks.DEVELOPMENT, *tasks.FINAL}


@pytest.mark.parametrize("name", ["svm", "mlp"])
def test_regret_runs_from_the_best_of_a_table_to_the_median_draw(name: str) -> None:
    task = digits.load(name)
    losses = [task.train(configuration).values[0] for configuration in task.space.grid()]
    assert min(losses) == task.best
    assert (task.regret(task.best), task.regret(task.median)) == (0, 1)
    assert np.median(losses) > task.best


def test_a_run_is_the_same_again_and_never_gets_worse() -> None:
    first, second = run(PLAN), run(PLAN)
    assert first.regrets == second.regrets
    assert len(first.regrets) == first.n_asked == 20
    assert first.regrets == sorted(first.regrets, reverse=True)


def test_learning_curves_fit_their_space_and_are_small() -> None:
    configurations, columns = stored.read(curves.FILE)
    assert len(configurations) == 400
    assert all(curves.SPACE.check(configuration) == configuration for configuration in configurations)
    assert {name: column.shape for name, column in columns.items()} == dict.fromkeys(curves.COLUMNS, (400, 50))
    assert curves.FILE.stat().st_size < 2_000_000


def test_work_on_learning_curves_is_counted_in_full_trainings() -> None:
    full = run(Plan("random", "curves/mnist1d", n_workers=8, seed=0, amount=10))
    halved = run(Plan("random+asha", "curves/mnist1d", n_workers=8, seed=0, amount=10))
    assert len(full.regrets) == len(halved.regrets) == 10
    assert full.n_asked < 40 < halved.n_asked


def test_finished_runs_are_found_again_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    made = Run([0.5, 0.25], 2, 0.1)
    Cache(file).put(PLAN, made)
    assert Cache(file).get(PLAN) == made
    assert Cache(file).get(Plan("sobol", PLAN.task, 8, 3, 20)) is None
    assert "release" in json.loads(json.loads(file.read_text())["key"])


def test_a_row_has_the_means_over_tasks_and_seeds() -> None:
    runs = {Plan("random", "a", 1, seed, 2): Run([1.0, regret], 2, 0.004) for seed, regret in enumerate([0.1, 0.0])}
    (row,) = summary.rows(runs, "g", tasks=["a"], afters=[2])
    assert row.mean == 0.05
    assert row.geometric_mean == pytest.approx(math.sqrt(0.1 * summary.FLOOR))
    assert row.cpu_ms == pytest.approx(2.0)


def test_a_figure_pairs_the_runs_of_each_task_and_seed() -> None:
    regrets = {"tpe": [0.1, 0.2, 0.4], "optuna-tpe": [0.2, 0.4, 0.8]}
    runs = {
        Plan(who, "a", 1, s, 60): Run([r] * 60, 60, 0.0) for who, each in regrets.items() for s, r in enumerate(each)
    }
    (figure,) = summary.figures(runs, "g", tasks=["a"], duels=[summary.Duel("tpe", summary.TPE, 1, 60, 1.0)])
    assert figure.ok
    assert (figure.low, figure.ratio, figure.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_task_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput, match="'finl': there is no such group or task; did you mean 'final'"):
        tasks.members("finl")


def test_the_optimum_of_a_mixed_integer_function_is_one_of_its_values() -> None:
    pytest.importorskip("ioh", reason="the extra `bench`")
    task = bbob.mixed_integer(1, seed=4)  # the sphere
    grid = [{f"x{i + 1}": value for i, value in enumerate(row)} for row in np.ndindex(2, 4, 8, 16)]
    best = min(grid, key=lambda integers: task.train({**integers, "x5": 0.0}).values[0])
    free = min(task.train({**best, "x5": float(x)}).values[0] for x in np.linspace(bbob.LOW, bbob.HIGH, 2_001))
    assert free < -4  # of the continuous variable alone, which is 0.0025 away at most


def test_durations_belong_to_configurations_and_not_to_whoever_proposes_them() -> None:
    pytest.importorskip("ioh", reason="the extra `bench`")
    task = tasks.load("bbob/f8", seed=0)
    for draw in random_draws(task.space, 5, seed=1):
        assert task.train(draw) == task.train(dict(reversed(draw.items())))


@pytest.mark.filterwarnings("ignore")  # what the peers warn of is theirs
@pytest.mark.parametrize("name", sorted(baselines.PEERS))
def test_a_peer_proposes_configurations_of_a_space_with_conditions(name: str) -> None:
    if not baselines.is_here(name):
        pytest.skip("the extra `bench`")
    task = digits.load("svm")
    tuner = baselines.build(name, task.space, setting=Setting(seed=0, n_trials=12, n_steps=3))
    for number in range(12):
        assignment = tuner.assign(may_begin=True)
        assert assignment is not None
        assert assignment.trial == number
        assert task.space.check(assignment.configuration) == assignment.configuration
        tuner.end(number, 3, value=task.train(assignment.configuration).values[0])

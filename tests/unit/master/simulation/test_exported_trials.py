"""A user's finished trials as a table."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pytest

from tunefleet.errors import InvalidInput
from tunefleet.study.spec import StudySpec
from tunefleet_master.simulation import comparison, exported_trials

STUDY: dict[str, Any] = {
    "name": "s",
    "objective": {"metric": "acc", "goal": "maximize"},
    "run": {"function": "a:b"},
    "space": {
        "lr": {"log": [1e-4, 1.0]},
        "layers": {"int": [1, 4]},
        "flag": [True, False],
        "optimizer": ["sgd", "adam"],
        "momentum": {"float": [0.0, 1.0], "when": "optimizer == 'sgd'"},
    },
    "steps": 9,
    "budget": {"trials": 12},
}
SPEC = StudySpec.parse(STUDY)


def trial(number: int, **changes: Any) -> dict[str, Any]:
    """A finished trial with an accuracy that rises with its number."""
    sgd = number % 2 == 0
    params = {"lr": 10 ** (-3 + number / 10), "layers": 1 + number % 4, "flag": sgd, "optimizer": "adam"}
    return {
        "number": number,
        "state": "complete",
        "value": number / 100,
        "last_step": 8,
        "params": {**params, **({"optimizer": "sgd", "momentum": 0.5} if sgd else {})},
        "failure": None,
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": f"2026-01-01T00:00:{10 + number}Z",
        **changes,
    }


def curve(number: int) -> list[dict[str, Any]]:
    return [{"step": step, "metrics": {"acc": number / 100 * (step + 1) / 9}} for step in range(9)]


def as_csv(trials: list[dict[str, Any]]) -> str:
    """Write trials as `tunefleet export STUDY csv` does."""
    rows = [
        {
            **{name: value for name, value in each.items() if name not in ("params", "started_at", "finished_at")},
            **{f"params.{name}": json.dumps(v) if isinstance(v, bool) else v for name, v in each["params"].items()},
            "duration_s": 10 + each["number"],
        }
        for each in trials
    ]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


TRIALS = [trial(number) for number in range(20)]


def test_csv_and_json_give_the_same_table() -> None:
    from_json = exported_trials.read(json.dumps(TRIALS), SPEC)
    from_csv = exported_trials.read(as_csv(TRIALS), SPEC)
    assert from_csv.table.configurations == from_json.table.configurations == [each["params"] for each in TRIALS]
    assert from_csv.table.trainings == from_json.table.trainings
    assert from_json.table.trainings[3].ends_s == (13.0,)
    assert from_json.table.trainings[3].steps == (9,)
    assert not from_json.has_curves


def test_curves_spread_over_the_time_that_the_trial_took() -> None:
    read = exported_trials.read(json.dumps([{**each, "curve": curve(each["number"])} for each in TRIALS]), SPEC)
    assert read.has_curves
    assert read.table.trainings[8].steps == tuple(range(1, 10))
    assert read.table.trainings[8].ends_s == pytest.approx([2.0 * step for step in range(1, 10)])
    assert read.values[8] == pytest.approx(0.08)


def test_a_configuration_that_cannot_be_trained_is_part_of_the_table() -> None:
    read = exported_trials.read(json.dumps([*TRIALS, trial(20, state="failed", failure="diverged", value=None)]), SPEC)
    assert math.isnan(read.table.trainings[20].values[0])
    assert len(read.values) == 20


def test_what_cannot_be_used_is_left_out_and_counted() -> None:
    others = [
        trial(20, state="pruned"),
        trial(21, state="pruned"),
        trial(22, state="failed", failure="error"),
        trial(23, params={"lr": 5.0}),
        trial(24, value=None),
    ]
    read = exported_trials.read(json.dumps([*TRIALS, *others]), SPEC)
    assert len(read.table.trainings) == 20
    assert sum(read.left_out.values()) == 5
    assert read.left_out["state: is pruned; only complete trials can be simulated"] == 2


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("lr,loss\n1,2\n", "must be the output of `tunefleet export STUDY csv` or `json`"),
        ("[1, 2]", "must be the output of `tunefleet export STUDY csv` or `json`"),
        ("[{", "is not valid JSON"),
        (json.dumps(TRIALS[:4]), "needs at least 10 complete trials of the study's space, and has 4"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(text: str, rule: str) -> None:
    with pytest.raises(InvalidInput, match=f"^--table: {rule}"):
        exported_trials.read(text, SPEC)


def test_the_best_5_percent_are_at_least_one_trial() -> None:
    assert comparison.good_value(exported_trials.read(json.dumps(TRIALS), SPEC), SPEC) == 0.19


def test_a_comparison_counts_the_trials_until_a_good_value() -> None:
    table = exported_trials.read(json.dumps([{**each, "curve": curve(each["number"])} for each in TRIALS]), SPEC)
    halving = StudySpec.parse({**STUDY, "search": {"sampler": "random"}, "pruning": {"pruner": "asha"}})
    full = StudySpec.parse({**STUDY, "search": {"sampler": "random"}})
    found = list(comparison.compare([full, halving], table, n_workers=4, n_seeds=5, n_trials=40))
    assert [(each.sampler, each.pruner) for each in found] == [("random", "none"), ("random", "asha")]
    assert all(each.n_good == each.n_best > 0 for each in found)
    assert found[1].work_s < found[0].work_s
    assert found == list(comparison.compare([full, halving], table, n_workers=4, n_seeds=5, n_trials=40))

"""Rules for learning-rate schedules."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.catalogue.optimizers import IN_BATCHES, PRESETS
from tunefleet.catalogue.schedules import PERIODIC
from tunefleet.rules.tasks import task_problems
from tunefleet.study.spec import StudySpec


def problems(space: dict[str, Any], **changes: Any) -> list[str]:
    plain = {
        "name": "digits",
        "objective": {"metric": "val_accuracy", "goal": "maximize"},
        "run": {"task": "image_classification", "dataset": "digits"},
        "space": {"lr": {"log": [1e-4, 1e-1]}, **space},
        "steps": 8,
    }
    return [str(problem) for problem in task_problems(StudySpec.parse({**plain, **changes}))]


@pytest.mark.parametrize(
    "space",
    [
        {"schedule": ["constant", "cosine", "1cycle", "wsd", "linear"]},
        {"schedule": ["cosine", "step"], "period": {"int": [2, 4], "when": "schedule == 'step'"}},
        {"schedule": {"fixed": "sgdr"}, "period": {"fixed": 2}, "cycle_growth": {"fixed": 2}},
        {"schedule": ["cosine"], "warmup": {"float": [0.0, 2.0]}},
        {"nesterov": [True, False], "residual": {"fixed": True}, "averaging": ["none", "swa", "ema"]},
        {"l1": {"log": [1e-6, 1e-2]}, "label_smoothing": [0.0, 0.1], "mixup": [0.0, 0.2], "clip_percentile": [90, 100]},
    ],
    ids=str,
)
def test_valid_schedules_and_regularisers_have_no_problems(space: dict[str, Any]) -> None:
    assert problems(space) == []


@pytest.mark.parametrize("name", PERIODIC)
def test_a_schedule_without_its_period_gets_an_explanation_of_it(name: str) -> None:
    (problem,) = problems({"schedule": ["cosine", name]})
    assert problem.startswith(f"space.period: is required by the schedule '{name}': ")


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        (
            {"period": {"fixed": 2}},
            "space.period: is read by the schedules step, plateau, sgdr, cyclic, grow_batch only, but the study has "
            "none of them; leave it out",
        ),
        (
            {"schedule": ["cosine"], "cycle_growth": {"fixed": 2}},
            "space.cycle_growth: is read by the schedules sgdr only, but the study has none of them; leave it out",
        ),
        (
            {"schedule": ["step"], "period": {"int": [9, 20]}},
            "space.period = 9: must be at most the 8 steps of a trial; otherwise the schedule never acts",
        ),
        (
            {"schedule": ["wsd"], "warmup": {"float": [0.0, 8.0]}},
            "space.warmup = 8.0: must be below the 8 steps of a trial; otherwise the trial ends before the rate is "
            "reached",
        ),
        ({"nesterov": [1]}, "space.nesterov = 1: the task takes true or false here"),
        ({"clip_percentile": {"float": [50, 101]}}, "space.clip_percentile = 101.0: the task takes values at most 100"),
        ({"decay": {"fixed": 1.0}, "schedule": ["step"]}, "space.decay = 1.0: the task takes values below 1"),
        ({"optimizer": ["lbfgs"]}, f"space.optimizer = 'lbfgs': the task offers {', '.join(IN_BATCHES)}"),
    ],
)
def test_a_schedule_that_cannot_act_is_named(space: dict[str, Any], problem: str) -> None:
    assert problems(space) == [problem]


def test_every_stage_must_be_longer_than_the_warm_up() -> None:
    stages = [{"trials": 10, "steps": 2}, {"trials": 5, "steps": 20}]
    (problem,) = problems({"warmup": {"fixed": 2}}, stages=stages, steps=None)
    assert "must be below the 2 steps" in problem


def test_every_optimizer_begins_inside_its_range() -> None:
    for preset in PRESETS.values():
        assert preset.low <= preset.default <= preset.high
        assert preset.log_range == {"log": [preset.low, preset.high]}
        assert preset.source

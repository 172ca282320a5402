"""Explanations of unclaimed studies, without a database."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.protocol import WorkerFacts
from tunefleet.study.spec import StudySpec
from tunefleet_master.services.execution.eligibility import Requirements, WorkerStatus, why_unclaimed

RESTING = "rests: 3 different trials failed here in a row (digits/1, digits/2, digits/3)"


def needs(**changes: Any) -> Requirements:
    data = {
        "name": "digits",
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"function": "train:train"},
        "space": {"x": {"float": [0, 1]}},
        **changes,
    }
    return Requirements.of(StudySpec.parse(data))


def worker(name: str = "w1", *, silent_s: float = 1.0, rests_s: float | None = None, **facts: Any) -> WorkerStatus:
    parsed = WorkerFacts.parse({"allow_code": True, **facts})
    return WorkerStatus(name, parsed, silent_s, silent_s < 60, rests_s)


def test_a_worker_that_fits_is_enough_whatever_the_others_lack() -> None:
    others = [worker("w2", allow_code=False), worker("w3", rests_s=40), worker("w4", silent_s=900)]
    assert why_unclaimed(needs(), [*others, worker()]) == ""


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        ([], "no worker is alive; start one: tunefleet-worker run URL"),
        (
            [worker("w1", silent_s=300), worker("w2", silent_s=3000)],
            "no worker is alive (w1 was heard last, 5 min 00 s ago)",
        ),
        ([worker("w1", silent_s=3, is_leaving=True)], "no worker is alive (w1 left 3.0 s ago)"),
    ],
)
def test_a_fleet_without_live_workers_names_the_last_one(workers: list[WorkerStatus], expected: str) -> None:
    assert why_unclaimed(needs(), workers).startswith(expected)


@pytest.mark.parametrize(
    ("changes", "workers", "expected"),
    [
        ({}, [worker(allow_code=False)], "runs submitted code (--allow-code); the one that is alive does not"),
        (
            {"resources": {"gpus": 2}},
            [worker(gpus_per_slot=1), worker("w2")],
            "has 2 GPUs in a slot; none of the 2 alive does",
        ),
        ({"resources": {"labels": ["a100"]}}, [worker(labels=["h100"])], "has the label a100; the one that is alive"),
        ({}, [worker(study="other")], "may take its trials (--study); the one that is alive does not"),
        (
            {"resources": {"gpus": 1, "labels": ["a100"]}},
            [worker("w1", gpus_per_slot=1), worker("w2", labels=["a100"])],
            "has 1 GPU in a slot and has the label a100; none of the 2 alive does",
        ),
    ],
)
def test_an_unmet_requirement_is_named(changes: dict[str, Any], workers: list[WorkerStatus], expected: str) -> None:
    assert why_unclaimed(needs(**changes), workers).startswith(f"it needs a worker that {expected}")


def test_a_built_in_task_needs_no_allow_code_and_a_workers_own_study_is_eligible() -> None:
    task = needs(run={"task": "image_classification", "dataset": "digits"}, steps=1)
    assert why_unclaimed(task, [worker(allow_code=False)]) == ""
    assert why_unclaimed(needs(), [worker(study="digits")]) == ""


def test_resting_workers_are_named_in_the_order_of_their_return() -> None:
    workers = [
        worker("w1", rests_s=100, status=RESTING),
        worker("w2", rests_s=40, status=RESTING),
        worker("w3", allow_code=False),
    ]
    reason = why_unclaimed(needs(), workers)
    assert reason == f"worker w2 rests for 40 s more ({RESTING}); worker w1 rests for 1 min 40 s more ({RESTING})"

"""Why nobody takes a study's trials, decided without a database."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.protocol import WorkerFacts
from tunefleet.study.spec import StudySpec
from tunefleet_master.services.execution.eligibility import Requirements, WorkerStatus, why_unclaimed

TIRED = "rests: 3 different trials failed here in a row (digits/1, digits/2, digits/3)"


def needs(**changes: Any) -> Requirements:
    data = {
        "name": "digits",
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"function": "train:train"},
        "space": {"x": {"float": [0, 1]}},
        **changes,
    }
    return Requirements.of(StudySpec.parse(data))


def hand(name: str = "w1", *, silent_s: float = 1.0, rests_s: float | None = None, **facts: Any) -> WorkerStatus:
    said = WorkerFacts.parse({"allow_code": True, **facts})
    return WorkerStatus(name, said, silent_s, silent_s < 60, rests_s)


def test_a_worker_that_fits_is_enough_whatever_the_others_lack() -> None:
    others = [hand("w2", allow_code=False), hand("w3", rests_s=40), hand("w4", silent_s=900)]
    assert why_unclaimed(needs(), [*others, hand()]) == ""


@pytest.mark.parametrize(
    ("hands", "says"),
    [
        ([], "no worker is alive; start one: tunefleet-worker run URL"),
        (
            [hand("w1", silent_s=300), hand("w2", silent_s=3000)],
            "no worker is alive (w1 was heard last, 5 min 00 s ago)",
        ),
        ([hand("w1", silent_s=3, is_leaving=True)], "no worker is alive (w1 left 3.0 s ago)"),
    ],
)
def test_a_fleet_without_anybody_is_told_and_who_was_there_last(hands: list[WorkerStatus], says: str) -> None:
    assert why_unclaimed(needs(), hands).startswith(says)


@pytest.mark.parametrize(
    ("changes", "hands", "says"),
    [
        ({}, [hand(allow_code=False)], "runs submitted code (--allow-code); the one that is alive does not"),
        (
            {"resources": {"gpus": 2}},
            [hand(gpus_per_slot=1), hand("w2")],
            "has 2 GPUs in a slot; none of the 2 alive does",
        ),
        ({"resources": {"labels": ["a100"]}}, [hand(labels=["h100"])], "has the label a100; the one that is alive"),
        ({}, [hand(study="other")], "may take its trials (--study); the one that is alive does not"),
        (
            {"resources": {"gpus": 1, "labels": ["a100"]}},
            [hand("w1", gpus_per_slot=1), hand("w2", labels=["a100"])],
            "has 1 GPU in a slot and has the label a100; none of the 2 alive does",
        ),
    ],
)
def test_what_no_worker_has_is_named(changes: dict[str, Any], hands: list[WorkerStatus], says: str) -> None:
    assert why_unclaimed(needs(**changes), hands).startswith(f"it needs a worker that {says}")


def test_a_built_in_task_needs_no_leave_to_run_code_and_a_study_of_ones_own_is_taken() -> None:
    task = needs(run={"task": "image_classification", "dataset": "digits"}, steps=1)
    assert why_unclaimed(task, [hand(allow_code=False)]) == ""
    assert why_unclaimed(needs(), [hand(study="digits")]) == ""


def test_workers_that_rest_are_named_the_one_that_is_back_first_before_the_others() -> None:
    hands = [hand("w1", rests_s=100, status=TIRED), hand("w2", rests_s=40, status=TIRED), hand("w3", allow_code=False)]
    said = why_unclaimed(needs(), hands)
    assert said == f"worker w2 rests for 40 s more ({TIRED}); worker w1 rests for 1 min 40 s more ({TIRED})"

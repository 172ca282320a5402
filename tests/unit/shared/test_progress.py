"""A study's progress as a line and as a live view."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from tunefleet.cli.progress import line, n_done, progress_view, remaining_s
from tunefleet.names import TrialId
from tunefleet.protocol import StudyState, StudyView, TrialState, TrialView
from tunefleet.study.spec import Budget

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def trial(number: int, value: float | None) -> TrialView:
    return TrialView(
        id=TrialId(number),
        study="s",
        number=number,
        state=TrialState.RUNNING,
        attempt=1,
        params={"lr": 0.001, "opt": "sgd"},
        seed=0,
        value=value,
        best_step=None,
        last_step=1,
        metrics={},
        failure=None,
        message="",
        worker="w",
        origin="random",
        created_at=NOW,
        started_at=NOW,
        finished_at=None,
    )


def view(**changes: Any) -> StudyView:
    made = StudyView(
        name="s",
        state=StudyState.RUNNING,
        message="",
        goal="minimize",
        metric="loss",
        sampler="random",
        sampler_reason="",
        trials={TrialState.COMPLETE: 4, TrialState.FAILED: 1, TrialState.RUNNING: 2, TrialState.WAITING: 3},
        budget=Budget(trials=10),
        priority=0,
        best=trial(3, 0.25),
        created_at=NOW,
        finished_at=None,
        elapsed_s=50.0,
    )
    return made.model_copy(update=changes)


def test_finished_trials_are_done_in_every_end_state() -> None:
    assert n_done(view()) == 5


@pytest.mark.parametrize(
    ("changes", "expected_s"),
    [
        ({}, 50.0),
        ({"budget": Budget(trials=10, hours=0.02)}, 22.0),
        ({"budget": Budget(hours=1)}, 3550.0),
        ({"budget": Budget()}, None),
        ({"trials": {TrialState.RUNNING: 2}}, None),
        ({"budget": Budget(hours=0.01)}, 0.0),
    ],
)
def test_the_remaining_time_follows_the_pace_and_the_hours(changes: dict[str, Any], expected_s: float | None) -> None:
    left = remaining_s(view(**changes))
    assert left == (None if expected_s is None else pytest.approx(expected_s))


def test_the_line_shows_the_main_facts() -> None:
    assert line(view()) == "s: 5/10 trials, 2 running, 1 failed, best loss 0.25 (trial 3), about 50 s left"


def test_the_line_of_a_paused_study_shows_the_reason() -> None:
    told = line(view(state=StudyState.PAUSED, message="three trials failed alike", best=None, trials={}))
    assert told == "s: 0/10 trials, paused (three trials failed alike)"


def test_the_view_has_a_bar_and_the_running_trials() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(progress_view(view(), [trial(5, None), trial(6, 0.5)], steps=lambda number: 8))
    text = console.export_text()
    assert "best: lr=0.001 opt=sgd" in text.splitlines()
    assert "trial 5  step 2/8" in text
    assert text.splitlines()[1].strip("━╺╸ ") == ""

"""Pauses at rungs and promotion: every paused trial resumes or ends."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.protocol import (
    FailRequest,
    Failure,
    Lease,
    ReleaseRequest,
    StopReason,
    StudyPatch,
    StudyState,
    TrialState,
)
from tunefleet_master.services.audit.replay import replay
from tunefleet_master.services.execution import completion
from tunefleet_master.services.planning import promotion, study_control
from tunefleet_master.services.reading import studies, trials
from tunefleet_master.storage import studies as stored
from tunefleet_master.storage.trial_pages import TrialQuery

STEPS = 9


def submit(master: Any, *, n: int = 9, **changes: Any) -> None:
    pruning = {"pruner": "asha", "mode": "promote", "eta": 3}
    master.submit(**{"steps": STEPS, "pruning": pruning, "budget": {"trials": n}, **changes})


def loss_of(number: int) -> float:
    """Return a loss that falls with the number, so that early trials are not promoted before later ones exist."""
    return 1.0 / (number + 1)


def train(master: Any, lease: Lease, *, begin: int = 0) -> str:
    """Report until the master orders a stop or a pause, and end; return the last directive."""
    answer = "continue"
    for step in range(begin, lease.steps or STEPS):
        answer = master.report(lease, step, loss=loss_of(lease.number)).directive
        if answer != "continue":
            break
    master.complete(lease)
    return answer


def listed(master: Any) -> dict[int, Any]:
    page = master.read(lambda uow: trials.page(uow, "study", TrialQuery(limit=100)))
    return {trial.number: trial for trial in page.items}


def states(master: Any) -> list[str]:
    return [trial.state.value for _, trial in sorted(listed(master).items())]


def run_to_the_end(master: Any) -> None:
    for _ in range(100):
        master.plan()
        leases = master.claim()
        if not leases:
            return
        begin = (listed(master)[leases[0].number].last_step or -1) + 1
        train(master, leases[0], begin=begin)
    raise AssertionError("the study does not end")


def test_a_trial_pauses_at_a_rung_with_a_reason(master: Any) -> None:
    submit(master)
    [lease] = master.claim()
    answer = master.report(lease, 0, loss=1.0)
    assert (answer.directive, answer.reason) == ("pause", StopReason.PAUSED)
    assert "none continues before 3 trials have reached this step" in answer.message
    assert master.complete(lease).state is TrialState.PAUSED
    paused = listed(master)[0]
    assert (paused.state, paused.value, paused.finished_at) == (TrialState.PAUSED, 1.0, None)


def test_a_paused_trial_resumes_before_new_ones_once_it_is_among_the_best(master: Any) -> None:
    submit(master)
    leases = master.claim(slots=3)
    for lease in leases:
        master.report(lease, 0, loss=abs(lease.number - 1))
        master.complete(lease)
    assert states(master)[:3] == ["paused"] * 3
    master.plan()
    assert states(master)[:3] == ["paused", "waiting", "paused"]
    [again] = master.claim()
    assert (again.number, again.attempt) == (1, 2)
    assert master.report(again, 1, loss=0.5).directive == "continue"


def test_a_promoted_trial_keeps_its_best_value(master: Any) -> None:
    submit(master)
    for lease in master.claim(slots=3):
        master.report(lease, 0, loss=abs(lease.number - 1))
        master.complete(lease)
    master.plan()
    [again] = master.claim()
    master.report(again, 1, loss=0.5)
    assert listed(master)[1].value == 0.0
    master.report(again, 2, loss=-1.0)
    master.complete(again)
    assert listed(master)[1].value == -1.0


@pytest.mark.parametrize("n", [1, 2, 9, 14])
def test_every_trial_ends_and_at_least_one_runs_all_steps(master: Any, n: int) -> None:
    submit(master, n=n)
    run_to_the_end(master)
    assert set(states(master)) <= {"complete", "pruned"}
    assert states(master).count("complete") >= 1
    assert listed(master)[n - 1].state is TrialState.COMPLETE  # the best of all
    assert all(trial.value == loss_of(number) for number, trial in listed(master).items())
    assert all(trial.finished_at is not None for trial in listed(master).values())
    study = master.read(lambda uow: studies.read(uow, "study"))
    assert study.state is StudyState.COMPLETE


def test_hyperband_promotes_within_its_brackets_and_ends(master: Any) -> None:
    submit(master, n=12, pruning={"pruner": "hyperband", "mode": "promote", "eta": 3})
    run_to_the_end(master)
    assert set(states(master)) <= {"complete", "pruned"}


def test_two_masters_that_promote_at_once_promote_once(master: Any) -> None:
    submit(master)
    for lease in master.claim(slots=3):
        master.report(lease, 0, loss=lease.number)
        master.complete(lease)
    [first] = master.promotions()
    [second] = master.promotions()
    master.call(promotion.carry_out, first)
    [lease] = master.claim()
    assert lease.number == 0
    master.call(promotion.carry_out, second)
    assert listed(master)[0].state is TrialState.RUNNING


def test_a_trial_that_finishes_before_the_order_to_pause_arrives_is_complete(master: Any) -> None:
    submit(master)
    [lease] = master.claim()
    for step in range(STEPS):
        master.report(lease, step, loss=1.0)
    assert master.complete(lease).state is TrialState.COMPLETE


@pytest.mark.parametrize(
    "ending",
    [
        lambda lease: FailRequest(attempt=lease.attempt, failure=Failure.ERROR, message="x", exception="E"),
        lambda lease: ReleaseRequest(attempt=lease.attempt),
    ],
)
def test_an_attempt_with_an_order_to_pause_ends_paused_however_it_ends(master: Any, ending: Any) -> None:
    submit(master)
    [lease] = master.claim()
    master.report(lease, 0, loss=1.0)
    request: completion.Request = ending(lease)
    assert master.end(lease.trial_id, request).state is TrialState.PAUSED


def test_a_trial_with_an_order_to_pause_is_paused_when_its_worker_is_lost(master: Any) -> None:
    submit(master)
    [lease] = master.claim()
    master.report(lease, 0, loss=1.0)
    master.pass_time(120)
    assert listed(master)[0].state is TrialState.PAUSED


def test_stopping_the_study_cancels_paused_trials(master: Any) -> None:
    submit(master)
    train(master, master.claim()[0])
    master.call(study_control.change, "study", StudyPatch(state="stopped"))
    assert set(states(master)) == {"cancelled"}


def test_when_the_hours_are_spent_paused_trials_end_with_their_values(master: Any) -> None:
    submit(master, budget={"hours": 1, "trials": 9})
    train(master, master.claim()[0])
    master.skip_time(3_700)
    master.pass_time(2)
    master.plan()
    assert states(master) == ["pruned"] + ["cancelled"] * 8
    assert master.read(lambda uow: studies.read(uow, "study")).state is StudyState.COMPLETE


def test_each_stage_promotes_its_own_trials_and_ends_before_the_next_begins(master: Any) -> None:
    stages = [{"trials": 6, "steps": 3}, {"trials": 6, "steps": 9}]
    submit(master, n=12, stages=stages)
    run_to_the_end(master)
    assert len(states(master)) == 12
    assert set(states(master)) <= {"complete", "pruned"}
    completed = [number for number, trial in listed(master).items() if trial.state is TrialState.COMPLETE]
    assert min(completed) < 6 <= max(completed)


def test_proposals_are_reproducible_with_paused_trials(master: Any) -> None:
    submit(master, n=12, search={"sampler": "random", "seed": 4})
    run_to_the_end(master)
    found = master.read(lambda uow: replay(uow, stored.get(uow.connection, "study")))
    assert (list(found.differing), found.n_same) == ([], 12)


def test_nothing_is_planned_for_a_study_without_paused_trials(master: Any) -> None:
    submit(master)
    assert (master.promotions(), master.next_stages()) == ([], [])

"""Coarse to fine: one stage after the other, each in the box around the best of the one before."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.errors import InvalidInput
from tunefleet.protocol import EnqueueRequest, FailRequest, Failure, Lease, StudyDetail, StudyPatch, StudyState
from tunefleet_master.services.audit.replay import replay
from tunefleet_master.services.planning import manual_trials, stages, study_control
from tunefleet_master.services.reading import studies, trials
from tunefleet_master.storage import studies as stored
from tunefleet_master.storage.trial_pages import TrialQuery

STAGES = [{"trials": 12, "steps": 2}, {"trials": 6, "steps": 9, "keep": 0.25}]


def submit(master: Any, **changes: Any) -> None:
    master.submit(**{"budget": {}, "stages": STAGES, **changes})


def study_of(master: Any) -> StudyDetail:
    detail: StudyDetail = master.read(lambda uow: studies.read(uow, "study"))
    return detail


def stage_of(master: Any) -> int:
    return int(master.read(lambda uow: stored.get(uow.connection, "study").stage))


def finish(master: Any, leases: list[Lease]) -> None:
    for lease in leases:
        master.complete(lease, loss=abs(float(str(lease.params["x"])) - 0.3))


def run(master: Any, n: int) -> list[Lease]:
    """Run up to `n` trials one after the other."""
    leases: list[Lease] = []
    for _ in range(n):
        master.plan()
        found = master.claim()
        finish(master, found)
        leases += found
    return leases


def test_each_stage_runs_its_trials_for_its_steps_and_the_study_ends_after_the_last_stage(master: Any) -> None:
    submit(master)
    leases = run(master, 30)
    assert [lease.steps for lease in leases] == [2] * 12 + [9] * 6
    assert study_of(master).state is StudyState.COMPLETE


def test_the_second_stage_searches_the_box_and_the_study_gives_the_reason(master: Any) -> None:
    submit(master)
    leases = run(master, 30)
    [edit] = study_of(master).edits
    assert (edit.stage, edit.version) == (1, 2)
    assert edit.evidence[0] == "the best 3 of 12 trials"
    assert "x" in edit.changed
    listed = master.read(lambda uow: trials.page(uow, "study", TrialQuery(limit=100))).items
    assert {trial.version for trial in listed if trial.number >= 12} == {2}
    assert all(abs(float(str(lease.params["x"])) - 0.3) < 0.4 for lease in leases[12:])
    assert study_of(master).spec.space["x"].bounds == (0, 1)  # type: ignore[union-attr]


def test_the_next_stage_begins_when_three_quarters_of_the_previous_one_have_ended(master: Any) -> None:
    submit(master)
    leases = master.claim(slots=12)
    finish(master, leases[:8])
    master.plan()
    assert stage_of(master) == 0
    assert master.claim() == []
    finish(master, leases[8:9])
    master.plan()
    assert stage_of(master) == 1
    assert master.claim()[0].steps == 9


def test_two_masters_that_see_a_stage_due_begin_it_once(master: Any) -> None:
    submit(master)
    finish(master, master.claim(slots=12))
    [following] = master.next_stages()
    [again] = master.next_stages()
    assert master.call(stages.begin, following) is True
    assert master.call(stages.begin, again) is False
    assert len(study_of(master).edits) == 1


def test_a_stage_without_results_does_not_narrow_the_space(master: Any) -> None:
    submit(master)
    for lease in master.claim(slots=12):
        master.end(lease.trial_id, FailRequest(attempt=lease.attempt, failure=Failure.DIVERGED, message="NaN"))
    master.plan()
    [edit] = study_of(master).edits
    assert edit.changed == {}
    assert edit.evidence == ["only 0 trials of the stage have a result"]


def test_a_configuration_by_hand_runs_for_the_steps_of_its_numbers_stage(master: Any) -> None:
    submit(master)
    run(master, 5)
    request = EnqueueRequest(params=[{"x": 0.01, "kind": "a"}])
    master.call(manual_trials.enqueue, "study", request)
    [lease] = master.claim()
    assert (lease.params["x"], lease.steps) == (0.01, 9)  # the queue of the first stage was full already
    finish(master, [lease])
    assert [lease.steps for lease in run(master, 30)] == [2] * 7 + [9] * 5


def test_a_raised_budget_extends_the_last_stage(master: Any) -> None:
    submit(master)
    run(master, 30)
    master.call(study_control.change, "study", StudyPatch(budget={"trials": 20}))  # type: ignore[arg-type]
    assert [lease.steps for lease in run(master, 5)] == [9, 9]


def test_an_edit_overrides_the_box(master: Any) -> None:
    submit(master)
    run(master, 13)
    master.call(study_control.change, "study", StudyPatch(space={"x": {"float": [0, 2]}}))
    study = master.read(lambda uow: stored.get(uow.connection, "study"))
    assert study.searched.space["x"].bounds == (0, 2)
    assert [edit.stage for edit in study_of(master).edits] == [1, None]
    run(master, 30)
    assert study_of(master).state is StudyState.COMPLETE


def test_the_same_study_may_be_submitted_again_in_whatever_stage(master: Any) -> None:
    submit(master)
    run(master, 14)
    submit(master)
    assert stage_of(master) == 1


def test_every_proposal_can_be_derived_again(master: Any) -> None:
    submit(master, search={"sampler": "random", "seed": 3})
    run(master, 30)
    found = master.read(lambda uow: replay(uow, stored.get(uow.connection, "study")))
    assert (list(found.differing), found.n_same) == ([], 18)


def test_a_trial_is_compared_only_with_trials_of_its_stage(master: Any) -> None:
    stages = [{"trials": 6, "steps": 4}, {"trials": 4, "steps": 8}]
    submit(master, stages=stages, pruning={"pruner": "asha", "min": 1, "eta": 2})
    for lease in master.claim(slots=6):
        master.report(lease, 0, loss=0.1)
        master.complete(lease, loss=0.1)
    master.plan()
    [lease] = master.claim()
    assert master.report(lease, 0, loss=0.9).directive == "continue"  # the first of its stage


def test_a_plan_beyond_the_budget_is_refused(master: Any) -> None:
    with pytest.raises(InvalidInput, match="have 18 trials together"):
        submit(master, budget={"trials": 17})

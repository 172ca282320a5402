"""The space of a study changes while it runs: versions, who stays evidence, and what waits or runs outside."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.errors import Conflict, InvalidInput
from tunefleet.protocol import Lease, StudyDetail, StudyPatch, StudyState, TrialState
from tunefleet_master.search import registry
from tunefleet_master.services.audit.replay import replay
from tunefleet_master.services.planning import histories, pending_work, planner, study_control
from tunefleet_master.services.planning.planner import propose
from tunefleet_master.services.reading import studies, trials
from tunefleet_master.storage import audit
from tunefleet_master.storage import studies as stored
from tunefleet_master.storage.trial_pages import TrialQuery


def edit(master: Any, **space: Any) -> StudyDetail:
    master.call(study_control.change, "study", StudyPatch(space=space))
    view: StudyDetail = master.read(lambda uow: studies.read(uow, "study"))
    return view


def stored_study(master: Any) -> Any:
    return master.read(lambda uow: stored.get(uow.connection, "study"))


def listed(master: Any) -> list[Any]:
    page = master.read(lambda uow: trials.page(uow, "study", TrialQuery(limit=100)))
    return sorted(page.items, key=lambda trial: trial.number)


def finish(master: Any, leases: list[Lease]) -> None:
    for lease in leases:
        master.complete(lease, loss=float(str(lease.params["x"])))


def test_a_wider_range_is_a_new_version_and_waiting_trials_inside_it_stay(master: Any) -> None:
    master.submit(budget={"trials": 6}, search={"sampler": "random"})
    before = [trial.params for trial in listed(master)]
    assert edit(master, x={"float": [0, 10]}).spec.space["x"].bounds == (0, 10)  # type: ignore[union-attr]
    assert stored_study(master).version == 2
    assert [trial.params for trial in listed(master)] == before
    assert edit(master, x={"float": [0, 10]}).spec == stored_study(master).spec
    assert stored_study(master).version == 2


def test_waiting_trials_outside_a_narrower_range_get_another_configuration_within_the_budget(master: Any) -> None:
    master.submit(budget={"trials": 10}, search={"sampler": "random"})
    finish(master, master.claim(slots=2))
    edit(master, x={"float": [0.0, 0.3]})
    found = listed(master)
    assert [trial.number for trial in found] == list(range(10))
    assert all(trial.params["x"] <= 0.3 for trial in found[2:])
    assert {trial.state for trial in found[2:]} == {TrialState.WAITING}
    finish(master, master.claim(slots=8))
    assert stored_study(master).state is StudyState.COMPLETE


def test_an_edit_that_would_leave_running_trials_outside_is_refused_and_changes_nothing(master: Any) -> None:
    master.submit(search={"sampler": "random"})
    [lease] = master.claim()
    with pytest.raises(Conflict, match=f"1 running trials of study 'study' lie outside the new space: {lease.number}"):
        edit(master, x={"fixed": 7})
    assert stored_study(master).version == 1


def test_a_choice_that_is_added_is_proposed(master: Any) -> None:
    master.submit(budget={"trials": 80}, search={"sampler": "random"})
    edit(master, kind=["a", "b", "c"])
    finish(master, master.claim(slots=60))
    master.plan()
    assert "c" in {trial.params["kind"] for trial in listed(master)}


@pytest.mark.parametrize(
    ("space", "rule"),
    [
        ({"y": {"float": [0, 1]}}, r"space\.y: is no parameter of the study"),
        ({"x": {"float": [1, 0]}}, "low must be below high"),
        ({"x": {"flaot": [0, 1]}}, r"space\.x"),
    ],
)
def test_an_invalid_space_is_refused_by_field(master: Any, space: dict[str, Any], rule: str) -> None:
    master.submit()
    with pytest.raises(InvalidInput, match=rule):
        edit(master, **space)
    assert stored_study(master).version == 1


def test_a_study_that_was_stopped_is_not_edited(master: Any) -> None:
    master.submit()
    master.call(study_control.change, "study", StudyPatch(state="stopped"))
    with pytest.raises(Conflict, match="was stopped"):
        edit(master, x={"float": [0, 2]})


def test_an_exhausted_grid_continues_after_it_has_grown(master: Any) -> None:
    master.submit(space={"kind": ["a", "b"]}, budget={"trials": 5}, search={"sampler": "grid"})
    for lease in master.claim(slots=5):
        master.complete(lease, loss=1.0)
    assert stored_study(master).state is StudyState.COMPLETE
    assert edit(master, kind=["a", "b", "c"]).state is StudyState.RUNNING
    master.plan()
    [lease] = master.claim(slots=5)
    assert lease.params == {"kind": "c"}
    master.complete(lease, loss=1.0)
    assert stored_study(master).state is StudyState.COMPLETE


def test_a_batch_that_was_drawn_before_an_edit_is_dropped(master: Any) -> None:
    master.submit(budget={"trials": 200}, search={"sampler": "random"})
    master.claim(slots=40)
    [need] = master.read(pending_work.needs)
    batch = propose(registry.build("random", need.study.spec), need)
    edit(master, x={"float": [0, 9]})
    assert master.call(planner.add_batch, need.study.id, batch) == 0


def test_samplers_ignore_results_outside_the_new_space(master: Any) -> None:
    master.submit(budget={"trials": 12}, search={"sampler": "random"})
    finish(master, master.claim(slots=10))
    edit(master, x={"float": [0.0, 0.5]}, kind=["b", "a", "c"])
    study = stored_study(master)
    history = histories.empty(master.read(lambda uow: histories.first_spec(uow.connection, study)))
    history.fold(
        change for _, change in master.read(lambda uow: list(histories.changes(uow.connection, study.id, after=0)))
    )
    inside = [trial.params["x"] <= 0.5 for trial in listed(master)]
    assert history.fits.tolist() == inside
    for i, trial in enumerate(listed(master)):
        if inside[i]:
            assert history.axes.configuration(history.points[i])["kind"] == trial.params["kind"]
            assert history.axes.configuration(history.points[i])["x"] == pytest.approx(trial.params["x"], rel=1e-12)


def test_every_proposal_is_reproducible_in_the_space_of_its_version(master: Any) -> None:
    master.submit(budget={"trials": 150}, search={"sampler": "random"})
    for space in ({"float": [0.0, 0.4]}, {"float": [0.0, 4.0]}):
        finish(master, master.claim(slots=20))
        edit(master, x=space)
        master.plan()
    found = master.read(lambda uow: replay(uow, stored_study(master)))
    assert (found.n_same, list(found.differing)) == (len(listed_all(master)), [])


def listed_all(master: Any) -> list[Any]:
    study = stored_study(master)
    return list(master.read(lambda uow: list(audit.proposals(uow.connection, study.id))))

"""Budgets, queues, enqueued trials and ends of studies, on every database."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.contracts.conftest import spec_of

from tunefleet.errors import (
    BudgetTaken,
    Conflict,
    DuplicateConfiguration,
    IllegalTransition,
    InvalidInput,
    NotAvailableYet,
    StudyExists,
)
from tunefleet.protocol import EnqueueRequest, FailRequest, Failure, RetryRequest, StudyPatch, StudyState, TrialState
from tunefleet.study.spec import Budget
from tunefleet_master.search import registry
from tunefleet_master.services.planning import manual_trials, pending_work, planner, study_control, submission
from tunefleet_master.services.reading import events, studies, trials
from tunefleet_master.storage.trial_pages import TrialQuery


def run_all(master: Any) -> int:
    """Run every study to its end; return the number of completed trials."""
    n = 0
    while True:
        master.plan()
        leases = master.claim(slots=8)
        if not leases:
            return n
        for lease in leases:
            master.complete(lease, loss=float(lease.number))
            n += 1


def read(master: Any, name: str = "study") -> Any:
    return master.read(lambda uow: studies.read(uow, name))


def listed(master: Any, **query: Any) -> Any:
    return master.read(lambda uow: trials.page(uow, "study", TrialQuery(**query)))


def enqueue(master: Any, *params: dict[str, Any]) -> Any:
    return master.call(manual_trials.enqueue, "study", EnqueueRequest(params=list(params)))


@pytest.mark.parametrize("budget", [1, 7, 100])
def test_a_budget_of_n_ends_with_exactly_n_finished_trials(master: Any, budget: int) -> None:
    master.submit(budget={"trials": budget})
    assert run_all(master) == budget
    study = read(master)
    assert study.state is StudyState.COMPLETE
    assert study.trials == {TrialState.COMPLETE: budget}
    assert study.message == f"the budget of {budget} trials is spent"


def test_concurrent_claims_lose_and_duplicate_no_trial(master: Any) -> None:
    master.submit(budget={"trials": 40})
    taken: list[int] = []

    def work(name: str) -> None:
        while True:
            master.plan()
            leases = master.claim(name)
            if not leases:
                return
            taken.append(leases[0].number)
            master.complete(leases[0], loss=1.0)

    workers = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(taken) == list(range(40))
    assert read(master).state is StudyState.COMPLETE


def test_two_planners_on_one_study_create_no_duplicate(master: Any) -> None:
    master.submit(name="study", budget={"trials": 140})
    for _ in range(5):
        master.claim(slots=8)
    [need] = master.read(pending_work.needs)
    batch = planner.propose(registry.build(need.study.sampler, need.study.spec), need)
    assert master.call(planner.add_batch, need.study.id, batch) == need.n
    assert master.call(planner.add_batch, need.study.id, batch) == 0


def test_a_restarted_master_continues_with_the_same_configurations(master: Any) -> None:
    master.submit(budget={"trials": 60}, search={"sampler": "random", "seed": 5})
    for _ in range(3):
        master.claim(slots=11)
        master.restart()
        master.plan()
    found = [trial.params for trial in listed(master, limit=1000).items]
    master.submit(name="again", budget={"trials": 60}, search={"sampler": "random", "seed": 5})
    run_all(master)
    page = master.read(lambda uow: trials.page(uow, "again", TrialQuery(limit=1000)))
    assert [trial.params for trial in page.items[: len(found)]] == found


def test_a_study_is_complete_after_one_pass_over_its_grid(master: Any) -> None:
    space = {"lr": {"log": [1e-4, 1], "points": 3}, "kind": ["a", "b"]}
    master.submit(space=space, search={"sampler": "grid"}, budget={})
    assert run_all(master) == 6
    assert read(master).message == "the grid sampler has no further configuration"
    rates = sorted({trial.params["lr"] for trial in listed(master).items})
    assert rates == pytest.approx([1e-4, 1e-2, 1])


def test_lowering_and_raising_the_budget_during_planning_loses_no_configuration(master: Any) -> None:
    master.call(submission.submit, spec_of(space={"n": {"int": [1, 3]}}, search={"sampler": "grid"}))
    [need] = master.read(pending_work.needs)
    drawn = planner.propose(registry.build(need.study.sampler, need.study.searched), need)
    master.call(study_control.change, "study", StudyPatch.parse({"budget": {"trials": 1}}))
    master.call(planner.add_batch, need.study.id, drawn)
    assert run_all(master) == 1
    master.call(study_control.change, "study", StudyPatch.parse({"budget": {"trials": 7}}))
    assert run_all(master) == 2
    assert sorted(trial.params["n"] for trial in listed(master).items) == [1, 2, 3]


def test_an_exhausted_space_ends_the_study_before_its_budget_does(master: Any) -> None:
    master.submit(space={"n": {"int": [1, 3]}}, search={"sampler": "grid"}, budget={"trials": 10})
    assert run_all(master) == 3


def test_auto_selects_the_grid_when_all_configurations_fit_and_gives_the_reason(master: Any) -> None:
    master.submit(name="small", search={}, space={"n": {"int": [1, 3]}}, budget={"trials": 10})
    assert read(master, "small").sampler == "grid"
    assert "all 3 configurations fit" in read(master, "small").sampler_reason


@pytest.mark.parametrize(
    ("space", "budget", "sampler"),
    [
        ({"x": {"float": [0, 1]}}, {"trials": 10}, "gp"),
        ({"x": {"float": [0, 1]}}, {}, "gp"),
        ({"x": {"float": [0, 1]}}, {"trials": 2_000}, "tpe"),
        ({f"x{i}": {"float": [0, 1]} for i in range(60)}, {"trials": 10}, "tpe"),
    ],
)
def test_auto_selects_a_learning_sampler_by_parameters_and_budget_and_gives_the_reason(
    master: Any, space: dict[str, Any], budget: dict[str, int], sampler: str
) -> None:
    master.submit(search={}, space=space, budget=budget)
    assert read(master).sampler == sampler
    assert len(read(master).sampler_reason) > 20


def test_an_equal_spec_returns_the_study_and_a_different_one_is_refused(master: Any) -> None:
    spec = master.submit()
    assert master.call(submission.submit, spec)[1] is False
    with pytest.raises(StudyExists, match="a study named 'study' exists"):
        master.submit(steps=5)


def test_what_is_not_available_yet_is_refused_by_name(master: Any) -> None:
    with pytest.raises(NotAvailableYet, match="ensemble"):
        master.submit(ensemble={"size": 3})


def test_a_configuration_by_hand_runs_first_and_takes_from_the_budget(master: Any) -> None:
    master.submit(budget={"trials": 40})
    [added] = enqueue(master, {"x": 0.5, "kind": "a"})
    assert master.claim()[0].trial_id == added.id
    assert run_all(master) == 39


def test_a_configuration_by_hand_replaces_a_waiting_proposal_when_the_budget_is_planned(master: Any) -> None:
    master.submit(budget={"trials": 4})
    master.claim()
    [added] = enqueue(master, {"x": 0.5, "kind": "a"})
    assert (added.number, added.origin) == (3, "user")
    assert master.claim()[0].params == {"x": 0.5, "kind": "a"}
    assert run_all(master) == 2
    assert listed(master).total == 4


def test_enqueue_refuses_duplicates_invalid_configurations_and_a_spent_budget_and_adds_nothing(master: Any) -> None:
    master.submit(budget={"trials": 40})
    enqueue(master, {"x": 0.5, "kind": "a"})
    before = read(master).trials
    with pytest.raises(DuplicateConfiguration, match="has this configuration"):
        enqueue(master, {"x": 0.1, "kind": "a"}, {"x": 0.5, "kind": "a"})
    with pytest.raises(InvalidInput, match=r"params\.x = 7: is not in float \[0\.0, 1\.0\]"):
        enqueue(master, {"x": 7, "kind": "a"})
    with pytest.raises(InvalidInput, match="did you mean 'kind'"):
        enqueue(master, {"x": 0.2, "kin": "a"})
    assert read(master).trials == before
    run_all(master)
    with pytest.raises(BudgetTaken, match="--trials 41"):
        enqueue(master, {"x": 0.25, "kind": "a"})


def test_failed_trials_run_again_and_the_study_is_complete_again(master: Any) -> None:
    master.submit(retry={"error": 0})
    for lease in master.claim(slots=4):
        if lease.number == 2:
            request = FailRequest(attempt=1, failure=Failure.ERROR, message="it broke")
            master.end(lease.trial_id, request)
        else:
            master.complete(lease, loss=1.0)
    assert read(master).state is StudyState.COMPLETE
    assert master.call(manual_trials.retry, "study", RetryRequest()).numbers == [2]
    assert read(master).state is StudyState.RUNNING
    assert run_all(master) == 1
    assert read(master).trials == {TrialState.COMPLETE: 4}


def test_a_raised_budget_reopens_a_complete_study(master: Any) -> None:
    master.submit()
    run_all(master)
    master.call(study_control.change, "study", StudyPatch(budget=Budget(trials=6)))
    assert run_all(master) == 2
    with pytest.raises(InvalidInput, match="below the 6 trials that the study has"):
        master.call(study_control.change, "study", StudyPatch(budget=Budget(trials=5)))


def test_a_paused_study_gives_no_trials_until_it_is_resumed(master: Any) -> None:
    master.submit()
    master.call(study_control.change, "study", StudyPatch(state="paused"))
    assert master.claim() == []
    master.call(study_control.change, "study", StudyPatch(state="running"))
    assert len(master.claim()) == 1


def test_a_stopped_study_cannot_be_resumed(master: Any) -> None:
    master.submit()
    master.call(study_control.change, "study", StudyPatch(state="stopped"))
    with pytest.raises(IllegalTransition, match="stopped and cannot become running"):
        master.call(study_control.change, "study", StudyPatch(state="running"))


def test_hours_end_a_study_after_its_running_trials(master: Any) -> None:
    master.submit(budget={"trials": 9, "hours": 0.01})
    [lease] = master.claim()
    master.pass_time(30)
    assert master.report(lease, 0, loss=0.5).directive == "continue"
    master.pass_time(10)
    assert master.claim() == []
    assert read(master).state is StudyState.RUNNING
    master.complete(lease)
    study = read(master)
    assert study.state is StudyState.COMPLETE
    assert study.trials == {TrialState.COMPLETE: 1, TrialState.CANCELLED: 8}


def test_only_an_ended_study_is_deleted_and_with_all_its_data(master: Any) -> None:
    master.submit()
    with pytest.raises(Conflict, match="Stop it first"):
        master.call(study_control.delete, "study")
    run_all(master)
    master.call(study_control.delete, "study")
    master.submit()
    assert [trial.number for trial in listed(master).items] == [0, 1, 2, 3]


def test_trials_are_listed_by_page_filter_and_column(master: Any) -> None:
    master.submit(budget={"trials": 10})
    for lease in master.claim(slots=7):
        master.complete(lease, loss=float(10 - lease.number))
    best = listed(master, sort="value", limit=3)
    assert ([trial.number for trial in best.items], best.next, best.total) == ([6, 5, 4], "3", 10)
    assert [trial.number for trial in listed(master, sort="value", limit=3, cursor="3").items] == [3, 2, 1]
    assert listed(master, state=TrialState.WAITING).total == 3
    xs = [trial.params["x"] for trial in listed(master, sort="params.x", descending=True).items]
    assert xs == sorted(xs, reverse=True)
    with pytest.raises(InvalidInput, match="did you mean 'value'"):
        listed(master, sort="valu")


def test_events_record_every_change_in_order_and_resume_after_an_id(master: Any) -> None:
    master.submit(budget={"trials": 1})
    run_all(master)
    told = master.read(lambda uow: events.after(uow, "study", 0, limit=100))
    assert [event.kind for event in told] == [
        "study.running",
        "trial.waiting",
        "trial.running",
        "trial.complete",
        "study.complete",
    ]
    later = master.read(lambda uow: events.after(uow, "study", told[2].id, limit=100))
    assert later == told[3:]

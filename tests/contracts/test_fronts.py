"""Studies of several objectives: which report counts, who is on the front, and what samplers learn."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.errors import Conflict, InvalidInput, NotFound
from tunefleet.protocol import CompleteRequest, FailRequest, Failure, Lease, Page, TrialState, TrialView
from tunefleet_master.search.history import History, Outcome
from tunefleet_master.services.planning import histories
from tunefleet_master.services.reading import fronts, studies, trials
from tunefleet_master.storage import studies as stored
from tunefleet_master.storage.trial_pages import TrialQuery

OBJECTIVES = [{"metric": "accuracy", "goal": "maximize"}, {"metric": "latency", "goal": "minimize"}]


def submit(master: Any, **changes: Any) -> None:
    """A study of two objectives; `objective: None` leaves the contract's own one out."""
    asked = {"objective": None, "objectives": OBJECTIVES, "budget": {"trials": 8}, "outcomes": ["params <= 100"]}
    master.submit(**{**asked, **changes})


def finish(master: Any, *values: tuple[float, float], params: float = 10.0) -> list[Lease]:
    """Trials that end with these accuracies and latencies."""
    leases: list[Lease] = master.claim(slots=len(values))
    for lease, (accuracy, latency) in zip(leases, values, strict=True):
        master.complete(lease, accuracy=accuracy, latency=latency, params=params)
    return leases


def front(master: Any, *, cursor: str | None = None, limit: int = 100) -> Page[TrialView]:
    page: Page[TrialView] = master.read(lambda uow: fronts.page(uow, "study", cursor=cursor, limit=limit))
    return page


def trial(master: Any, number: int) -> TrialView:
    view: TrialView = master.read(lambda uow: trials.by_number(uow, "study", number))
    return view


def history(master: Any) -> History:
    def fold(uow: Any) -> History:
        study = stored.get(uow.connection, "study")
        made = histories.empty(study.spec)
        made.fold(change for _, change in histories.changes(uow.connection, study.id, after=0))
        return made

    found: History = master.read(fold)
    return found


def test_the_last_report_with_all_result_metrics_counts(master: Any) -> None:
    submit(master)
    [lease] = master.claim()
    master.report(lease, 0, accuracy=0.9, latency=5.0, params=10.0)
    assert trial(master, lease.number).values == (0.9, 5.0)
    master.report(lease, 1, accuracy=0.8, latency=4.0, params=10.0)
    master.report(lease, 2, accuracy=0.99)
    assert trial(master, lease.number).values == (0.8, 4.0)
    assert master.end(lease.trial_id, CompleteRequest(attempt=1)).state is TrialState.COMPLETE
    found = trial(master, lease.number)
    assert (found.values, found.value, found.best_step, found.last_step) == ((0.8, 4.0), 0.8, 1, 2)
    assert found.broken_outcomes == ()


def test_a_lease_lists_the_result_metrics(master: Any) -> None:
    submit(master)
    [lease] = master.claim()
    assert lease.result_metrics == ("accuracy", "latency", "params")
    assert (lease.objective.metric, lease.objective.value) == ("accuracy", "last")


def test_a_trial_that_lacks_a_metric_cannot_complete(master: Any) -> None:
    submit(master)
    [lease] = master.claim()
    master.report(lease, 0, accuracy=0.9, params=1.0)
    with pytest.raises(InvalidInput, match="no report has all of accuracy, latency, params together; reported was"):
        master.complete(lease)
    assert master.complete(lease, latency=3.0).state is TrialState.COMPLETE
    assert trial(master, lease.number).values == (0.9, 3.0)


def test_the_front_has_the_nondominated_trials(master: Any) -> None:
    submit(master)
    assert front(master).items == []
    slow, fast, middle, bad = finish(master, (0.9, 9.0), (0.5, 1.0), (0.7, 4.0), (0.6, 4.0))
    page = front(master)
    assert [view.number for view in page.items] == [slow.number, middle.number, fast.number]
    assert [view.values for view in page.items] == [(0.9, 9.0), (0.7, 4.0), (0.5, 1.0)]
    assert (page.total, page.next) == (3, None)
    assert bad.number not in {view.number for view in page.items}


def test_equal_results_are_on_the_front_together(master: Any) -> None:
    submit(master)
    finish(master, (0.9, 9.0), (0.9, 9.0))
    assert front(master).total == 2


def test_the_front_comes_in_pages(master: Any) -> None:
    submit(master)
    finish(master, (0.9, 9.0), (0.5, 1.0), (0.7, 4.0))
    first = front(master, limit=2)
    assert (len(first.items), first.total, first.next) == (2, 3, "2")
    last = front(master, cursor=first.next, limit=2)
    assert ([view.values for view in last.items], last.next) == ([(0.5, 1.0)], None)
    assert front(master, cursor="99").items == []
    with pytest.raises(InvalidInput, match="cursor"):
        front(master, cursor="x")


def test_a_trial_that_breaks_an_outcome_is_not_on_the_front_and_infeasible_for_samplers(master: Any) -> None:
    submit(master)
    [good] = finish(master, (0.5, 5.0))
    [bad] = finish(master, (0.9, 1.0), params=101.0)
    assert [view.number for view in front(master).items] == [good.number]
    assert trial(master, bad.number).broken_outcomes == ("params <= 100",)
    known = history(master)
    assert known.outcomes[[good.number, bad.number]].tolist() == [Outcome.COMPLETE, Outcome.INFEASIBLE]
    assert known.values[[good.number, bad.number]].tolist() == [[-0.5, 5.0], [-0.9, 1.0]]


def test_a_retried_trial_has_no_result_before_it_ends(master: Any) -> None:
    submit(master, outcomes=["params <= 1"], retry={"error": 1})
    [lease] = master.claim()
    master.report(lease, 0, accuracy=0.9, latency=5.0, params=10.0)
    master.end(lease.trial_id, FailRequest(attempt=1, failure=Failure.ERROR, message="m"))
    assert history(master).outcomes[lease.number] == Outcome.PENDING
    [again] = master.claim()
    assert (again.trial_id, again.attempt) == (lease.trial_id, 2)
    assert history(master).outcomes[lease.number] == Outcome.PENDING


def test_a_study_of_several_objectives_has_no_best_trial(master: Any) -> None:
    submit(master)
    finish(master, (0.9, 9.0))
    view = master.read(lambda uow: studies.read(uow, "study"))
    assert view.best is None
    assert [objective.metric for objective in view.objectives] == ["accuracy", "latency"]
    assert (view.metric, view.goal) == ("accuracy", "maximize")


def test_a_study_of_one_objective_has_no_front(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    master.complete(lease, loss=0.5)
    with pytest.raises(Conflict, match="has one objective, and so no front"):
        front(master)
    view = trial(master, lease.number)
    assert (view.value, view.values, view.broken_outcomes) == (0.5, None, ())
    assert lease.result_metrics == ()
    assert history(master).values[lease.number].tolist() == [0.5]


def test_the_front_of_an_unknown_study_is_not_found(master: Any) -> None:
    with pytest.raises(NotFound):
        front(master)


def test_trials_are_sorted_by_the_first_objective(master: Any) -> None:
    submit(master)
    finish(master, (0.5, 1.0), (0.9, 9.0))
    query = TrialQuery(sort="value", descending=True, state=TrialState.COMPLETE)
    page = master.read(lambda uow: trials.page(uow, "study", query))
    assert [view.value for view in page.items] == [0.9, 0.5]

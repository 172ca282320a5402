"""Cross-validation: each fold is a trial with a lease of its own, and everybody else sees one result of them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from tunefleet.errors import BudgetTaken, Conflict, DuplicateConfiguration, InvalidInput
from tunefleet.protocol import (
    ConfigurationView,
    EnqueueRequest,
    FailRequest,
    Failure,
    Lease,
    RetryRequest,
    StudyDetail,
    StudyPatch,
    StudyState,
    TrialState,
    TrialView,
)
from tunefleet.study.spec import Budget
from tunefleet_master.search import registry
from tunefleet_master.search.history import History, Outcome
from tunefleet_master.services.audit.acknowledged_writes import AcknowledgedWrites
from tunefleet_master.services.audit.doctor import verify
from tunefleet_master.services.audit.replay import replay
from tunefleet_master.services.planning import histories, manual_trials, pending_work, planner, racing, study_control
from tunefleet_master.services.planning.sampling import Batch
from tunefleet_master.services.reading import studies, trials
from tunefleet_master.storage import events
from tunefleet_master.storage import studies as stored
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.trial_pages import TrialQuery

FOLDS = 3
X = {"x": {"float": [0, 1]}}


def submit(master: Any, *, folds: int = FOLDS, race: bool = False, **changes: Any) -> None:
    data = {"folds": folds} if race else {"folds": folds, "race": False}
    master.submit(**{"data": data, "space": X, **changes})


def study_of(master: Any) -> StudyDetail:
    detail: StudyDetail = master.read(lambda uow: studies.read(uow, "study"))
    return detail


def listed(master: Any) -> list[TrialView]:
    found: list[TrialView] = master.read(lambda uow: trials.page(uow, "study", TrialQuery(limit=1_000))).items
    return found


def configurations(master: Any) -> list[ConfigurationView]:
    found = master.read(lambda uow: trials.configurations(uow, "study", cursor=None, limit=1_000)).items
    return sorted(found, key=lambda each: each.number)


def history_of(master: Any) -> History:
    history: History = master.read(lambda uow: histories.fold(uow.connection, stored.get(uow.connection, "study")))
    return history


def claim_all(master: Any, worker: str = "w1") -> list[Lease]:
    leases: list[Lease] = []
    while found := (master.plan(), master.claim(worker))[1]:
        leases += found
    return leases


def loss(lease: Lease) -> float:
    """Return a loss; folds differ by more than configurations do."""
    return float(str(lease.params["x"])) + 10.0 * (lease.fold or 0)


def run_all(master: Any, value: Callable[[Lease], float] = loss) -> list[Lease]:
    leases: list[Lease] = []
    while found := (master.plan(), master.claim())[1]:
        for lease in found:
            master.complete(lease, loss=value(lease))
        leases += found
    return leases


def test_a_budget_counts_configurations_and_each_has_a_lease_for_every_fold(master: Any) -> None:
    submit(master)
    leases = run_all(master)
    assert [lease.number for lease in leases] == list(range(4 * FOLDS))
    assert [lease.fold for lease in leases] == [0, 1, 2] * 4
    assert len({str(lease.params) for lease in leases}) == 4
    assert all(len({str(it.params) for it in leases[i : i + 3]}) == 1 for i in range(0, 12, 3))
    assert len({lease.seed for lease in leases}) == 12
    view = study_of(master)
    assert (view.state, view.message) == (
        StudyState.COMPLETE,
        "the budget of 4 configurations of 3 folds each is spent",
    )
    assert (view.budget.trials, view.most_trials, view.trials) == (4, 12, {TrialState.COMPLETE: 12})


def test_each_of_several_workers_gets_a_fold_of_the_same_configuration(master: Any) -> None:
    submit(master)
    leases = [master.claim(f"w{i}")[0] for i in range(FOLDS)]
    assert [(lease.number, lease.fold) for lease in leases] == [(0, 0), (1, 1), (2, 2)]


def test_the_result_of_a_configuration_is_the_mean_of_its_folds_with_its_standard_error(master: Any) -> None:
    submit(master)
    leases = run_all(master)
    for found in configurations(master):
        values = [loss(lease) for lease in leases[found.number * 3 : found.number * 3 + 3]]
        assert found.state is TrialState.COMPLETE
        assert found.value == fmean(values)
        assert found.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(3), rel=1e-12)
        assert [fold.value for fold in found.folds] == values
    first = master.read(lambda uow: trials.by_number(uow, "study", 4))
    assert (first.fold, first.value, first.standard_error) == (1, loss(leases[4]), None)
    assert first.configuration == configurations(master)[1]


def test_the_best_is_the_best_mean_and_not_the_best_fold(master: Any) -> None:
    submit(master, budget={"trials": 2})
    run_all(master, lambda lease: [0.0, 9.0, 9.0, 5.0, 5.0, 5.0][lease.number])
    best = study_of(master).best
    assert best is not None
    assert (best.number, best.value, best.standard_error, best.fold) == (3, 5.0, 0.0, None)
    assert [
        it.number for it in master.read(lambda uow: trials.configurations(uow, "study", cursor=None, limit=1)).items
    ] == [1]


def test_a_configuration_counts_only_when_all_of_its_folds_are_complete(master: Any) -> None:
    submit(master)
    first, second, third = master.claim(slots=3)
    master.complete(first, loss=0.1)
    master.complete(second, loss=0.2)
    assert study_of(master).best is None
    assert configurations(master)[0].state is TrialState.RUNNING
    assert history_of(master).outcomes[0] == Outcome.PENDING
    master.complete(third, loss=0.6)
    assert study_of(master).best.value == fmean([0.1, 0.2, 0.6])  # type: ignore[union-attr]
    history = history_of(master)
    assert (history.n, history.outcomes[0], history.values[0, 0]) == (4, Outcome.COMPLETE, fmean([0.1, 0.2, 0.6]))


def test_a_lost_worker_costs_its_fold_another_attempt_and_nothing_else(master: Any) -> None:
    submit(master, budget={"trials": 1})
    dead, alive = master.claim("w1")[0], master.claim("w2")[0]
    master.complete(alive, loss=0.5)
    master.pass_time(70)
    again = claim_all(master, "w3")
    assert sorted((lease.fold, lease.attempt) for lease in again) == [(0, 2), (2, 1)]
    assert (again[0].number, again[0].seed) == (dead.number, dead.seed)
    for lease in again:
        master.complete(lease, loss=0.5)
    assert study_of(master).state is StudyState.COMPLETE
    assert study_of(master).best.value == 0.5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("failure", "outcome"), [(Failure.ERROR, Outcome.UNKNOWN), (Failure.DIVERGED, Outcome.INFEASIBLE)]
)
def test_a_configuration_with_a_failed_fold_has_no_result_until_a_retry(
    master: Any, failure: Failure, outcome: Outcome
) -> None:
    submit(master, budget={"trials": 1}, retry={"error": 0})
    for lease in master.claim(slots=3):
        if lease.fold == 1:
            master.end(lease.trial_id, FailRequest(attempt=1, failure=failure))
        else:
            master.complete(lease, loss=0.3)
    [whole] = configurations(master)
    assert (whole.state, study_of(master).best, history_of(master).outcomes[0]) == (TrialState.FAILED, None, outcome)
    assert master.call(manual_trials.retry, "study", RetryRequest()).numbers == [1]
    assert history_of(master).outcomes[0] == Outcome.PENDING
    run_all(master, lambda lease: 0.6)
    assert study_of(master).best.value == fmean([0.3, 0.6, 0.3])  # type: ignore[union-attr]
    assert history_of(master).values[0, 0] == fmean([0.3, 0.6, 0.3])


def test_the_same_exception_in_all_folds_of_one_configuration_does_not_pause_the_study(master: Any) -> None:
    submit(master, retry={"error": 0})

    def fail(leases: Sequence[Lease]) -> StudyState:
        for lease in leases:
            master.end(lease.trial_id, FailRequest(attempt=1, exception="ValueError in train"))
        return study_of(master).state

    assert fail(master.claim(slots=6)) is StudyState.RUNNING
    assert fail(master.claim(slots=1)) is StudyState.PAUSED


def race_of(master: Any, second: Sequence[float], *, folds: int = 5, fewest: int = 3) -> list[TrialView]:
    """A first configuration with the folds' own losses, and some folds of a second one; its trials."""
    submit(master, folds=folds, race=True, budget={"trials": 2})
    for lease in master.claim(slots=folds):
        master.complete(lease, loss=float(lease.fold or 0))
    for value, lease in zip(second, master.claim(slots=len(second)), strict=True):
        master.complete(lease, loss=value)
    master.plan()
    return listed(master)[folds:]


def test_a_configuration_that_is_worse_fold_by_fold_gets_no_further_folds(master: Any) -> None:
    rest = race_of(master, [0.10, 1.11, 2.09])
    assert [trial.state for trial in rest] == [TrialState.COMPLETE] * 3 + [TrialState.PRUNED] * 2
    assert "its configuration is worse than configuration 0 on the 3 folds" in rest[-1].message
    assert rest[-1].attempt == 0
    view = study_of(master)
    assert (view.state, view.best.number) == (StudyState.COMPLETE, 0)  # type: ignore[union-attr]
    assert configurations(master)[1].state is TrialState.PRUNED
    history = history_of(master)
    assert history.outcomes.tolist() == [Outcome.COMPLETE, Outcome.PRUNED]
    assert history.values[1, 0] == fmean([0.10, 1.11, 2.09])


@pytest.mark.parametrize(
    "second",
    [
        [0.10, 1.11],  # two pairs show nothing about the spread
        [0.10, 1.90, 1.50],  # worse and better
        [-0.1, 0.90, 1.90],  # better
        [0.10, 1.10, 2.10],  # equal differences: three of one sign have a chance of 1 in 8
    ],
)
def test_a_configuration_that_may_be_as_good_continues(master: Any, second: list[float]) -> None:
    rest = race_of(master, second)
    assert {trial.state for trial in rest[len(second) :]} == {TrialState.WAITING}


def test_a_running_fold_of_an_eliminated_configuration_is_stopped(master: Any) -> None:
    submit(master, folds=5, race=True, budget={"trials": 2})
    for lease in master.claim(slots=5):
        master.complete(lease, loss=float(lease.fold or 0))
    *ended, running = master.claim(slots=4)
    for lease, value in zip(ended, [0.10, 1.11, 2.09], strict=True):
        master.complete(lease, loss=value)
    master.plan()
    assert master.report(running, 0, loss=9.0).reason == "pruned"
    assert master.complete(running, loss=9.0).state is TrialState.PRUNED
    assert study_of(master).state is StudyState.COMPLETE
    assert study_of(master).trials == {TrialState.COMPLETE: 8, TrialState.PRUNED: 2}


def test_two_masters_that_see_an_elimination_apply_it_once(master: Any) -> None:
    submit(master, folds=5, race=True, budget={"trials": 2})
    for lease in master.claim(slots=8):
        master.complete(lease, loss=(lease.fold or 0) + (0.1 + 0.01 * (lease.fold or 0)) * (lease.number // 5))
    [study] = master.read(pending_work.pending_work).racing
    [elimination] = master.read(lambda uow: racing.Races().eliminations(uow, study))
    assert master.call(racing.eliminate, study, elimination) is True
    assert master.call(racing.eliminate, study, elimination) is False


def test_without_the_race_every_configuration_gets_all_folds(master: Any) -> None:
    submit(master, folds=5, budget={"trials": 3})
    run_all(master, lambda lease: (lease.fold or 0) + lease.number // 5 * (1 + 0.01 * (lease.fold or 0)))
    assert study_of(master).trials == {TrialState.COMPLETE: 15}


def test_a_configuration_by_hand_has_all_folds_and_goes_first(master: Any) -> None:
    submit(master)
    master.claim()
    added = master.call(manual_trials.enqueue, "study", EnqueueRequest(params=[{"x": 0.5}]))
    assert [trial.number for trial in added] == [9]  # it replaces the last one that has not begun
    assert [(it.number, it.fold) for it in master.claim(slots=3)] == [(9, 0), (10, 1), (11, 2)]
    with pytest.raises(DuplicateConfiguration):
        master.call(manual_trials.enqueue, "study", EnqueueRequest(params=[{"x": 0.5}]))
    claim_all(master)
    with pytest.raises(BudgetTaken, match="no trial left"):
        master.call(manual_trials.enqueue, "study", EnqueueRequest(params=[{"x": 0.6}]))
    master.call(study_control.change, "study", StudyPatch(budget=Budget(trials=5)))
    [trial] = master.call(manual_trials.enqueue, "study", EnqueueRequest(params=[{"x": 0.6}]))
    assert (trial.number, len(listed(master))) == (12, 15)


def test_a_budget_is_not_lowered_below_the_configurations_that_exist(master: Any) -> None:
    submit(master)
    with pytest.raises(InvalidInput, match="below the 4 configurations"):
        master.call(study_control.change, "study", StudyPatch(budget=Budget(trials=3)))


def test_an_edit_of_the_space_moves_waiting_folds_together(master: Any) -> None:
    submit(master)
    begun = master.claim()[0]
    master.complete(begun, loss=0.1)
    narrow: dict[str, Any] = {"x": {"float": [0, 0.001]}}
    master.call(study_control.change, "study", StudyPatch(space=narrow))
    found = configurations(master)
    assert {fold.state for fold in found[0].folds[1:]} == {TrialState.CANCELLED}
    numbers = {
        each.number: {str(it.params) for it in listed(master) if it.number // 3 == each.number} for each in found
    }
    assert all(len(params) == 1 for params in numbers.values())
    assert len(set.union(*numbers.values())) == 4
    assert all(float(str(each.params["x"])) <= 0.001 for each in found[1:])


def plan_on_results(master: Any) -> None:
    """Plan for a learning sampler and a waiting worker, in this process."""
    master.apply_eliminations()
    for need in master.read(pending_work.needs):
        study = need.study
        history = history_of(master)
        saw = max(
            event.id
            for event in master.read(lambda uow, study=study: events.after(uow.connection, study.id, 0, limit=100_000))
        )
        sampler = registry.build(study.sampler, study.spec)
        found = sampler.suggest(study.position, need.n, history=history).found
        batch = Batch(study.position, study.version, found, False, sampler.name, sampler.version, saw)
        master.call(planner.add_batch, study.id, batch)


@pytest.mark.parametrize(("sampler", "budget"), [("random", 4), ("tpe", 12)])
def test_every_proposal_is_unique_and_reproducible(master: Any, sampler: str, budget: int, tmp_path: Any) -> None:
    submit(master, folds=2, search={"sampler": sampler}, budget={"trials": budget}, race=True)
    while study_of(master).state is StudyState.RUNNING:
        plan_on_results(master) if sampler == "tpe" else master.plan()
        for lease in master.claim():
            master.complete(lease, loss=loss(lease))
    study = master.read(lambda uow: stored.get(uow.connection, "study"))
    again = master.read(lambda uow: replay(uow, study))
    assert (again.n_same, again.differing) == (budget, [])
    checks = master.read(lambda uow: verify(uow, BlobStore(tmp_path), acknowledged=AcknowledgedWrites()))
    assert [check.violations for check in checks if check.violations] == []


def test_later_studies_start_from_the_best_means(master: Any) -> None:
    submit(master)
    run_all(master)
    best = study_of(master).best
    assert best is not None
    master.submit(name="next", space=X, warm_start=["study"], search={"sampler": "tpe"}, data={"folds": 2})
    first = master.claim(study="next", slots=2)
    assert [(lease.params, lease.fold) for lease in first] == [(best.params, 0), (best.params, 1)]


def test_a_study_without_folds_has_no_list_of_configurations(master: Any) -> None:
    master.submit()
    with pytest.raises(Conflict, match="has no folds"):
        configurations(master)
    assert {trial.fold for trial in listed(master)} == {None}

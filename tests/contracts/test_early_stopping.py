"""Lagging trials are stopped in the transaction of the report that shows it, on every master."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tunefleet.protocol import CompleteRequest, Lease, Report, ReportBatch, TrialState
from tunefleet_master.services.execution import reports
from tunefleet_master.services.execution.early_stopping import RUNG, RungTables
from tunefleet_master.services.execution.reports import Reported
from tunefleet_master.services.planning import histories
from tunefleet_master.storage import events, studies

HALVING = {"pruner": "asha", "min": 1, "eta": 2}


def submit(master: Any, **changes: Any) -> None:
    asked = {"budget": {"trials": 8}, "steps": 8, "pruning": HALVING, "search": {"sampler": "random"}}
    master.submit(**{**asked, **changes})


def reported(lease: Lease, *losses: float, first: int = 0) -> Reported:
    points = [Report(step=first + i, metrics={"loss": loss}) for i, loss in enumerate(losses)]
    return Reported(lease.trial_id, ReportBatch(attempt=lease.attempt, reports=points))


def rungs(master: Any) -> list[tuple[int | None, Any, Any]]:
    study = master.read(lambda uow: studies.get(uow.connection, "study"))
    found = master.read(lambda uow: events.of_kinds(uow.connection, study.id, [RUNG]))
    return [(event.trial, event.data["rung"], event.data["value"]) for event in found]


def test_a_trial_that_lags_at_a_rung_is_stopped_and_ends_as_pruned(master: Any) -> None:
    submit(master)
    good, bad = master.claim(slots=2)
    assert master.ask(reports.record, reported(good, 0.1)).directive == "continue"
    answer = master.ask(reports.record, reported(bad, 0.9))
    assert (answer.directive, answer.reason) == ("stop", "pruned")
    assert "rank 2 of 2 after 1 step" in answer.message
    assert master.end(bad.trial_id, CompleteRequest(attempt=1)).state is TrialState.PRUNED
    assert rungs(master) == [(good.number, 1, 0.1), (bad.number, 1, 0.9)]


def test_a_repeated_report_gets_the_same_answer_and_is_counted_once(master: Any) -> None:
    submit(master)
    good, bad = master.claim(slots=2)
    master.ask(reports.record, reported(good, 0.1))
    answers = [master.ask(reports.record, reported(bad, 0.9)) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(rungs(master)) == 2


def test_a_batch_that_passes_several_rungs_is_judged_at_each(master: Any) -> None:
    submit(master)
    first, second = master.claim(slots=2)
    master.ask(reports.record, reported(first, 0.5, 0.4, 0.3, 0.2))
    answer = master.ask(reports.record, reported(second, 0.4, 0.39, 0.38, 0.37))
    assert [rung for number, rung, _ in rungs(master) if number == second.number] == [1, 2, 4]
    assert answer.directive == "stop"
    assert "rank 2 of 2 after 4 steps" in answer.message


def test_a_restarted_attempt_reaches_no_rung_twice(master: Any) -> None:
    submit(master)
    [lease] = master.claim()
    master.ask(reports.record, reported(lease, 0.5, 0.4))
    master.pass_time(61)
    [again] = master.claim()
    assert (again.trial_id, again.attempt) == (lease.trial_id, 2)
    master.ask(reports.record, reported(again, 0.5, 0.4))
    assert [rung for _, rung, _ in rungs(master)] == [1, 2]


def test_masters_compare_trials_with_rungs_that_other_masters_recorded(master: Any) -> None:
    submit(master)
    mine, theirs = (partial(reports.record, tables=RungTables()) for _ in range(2))
    first, second, third = master.claim(slots=3)
    assert master.ask(mine, reported(first, 0.1)).directive == "continue"
    assert master.ask(theirs, reported(second, 0.2)).directive == "stop"
    assert master.ask(mine, reported(third, 0.3)).directive == "stop"
    assert "of 3" in master.ask(mine, reported(third, 0.3)).message


def test_a_rolled_back_transaction_leaves_no_rung(master: Any) -> None:
    submit(master)
    tables = RungTables()
    first, second = master.claim(slots=2)

    def undone(uow: Any) -> None:
        reports.record(uow, [reported(first, 0.1)], tables=tables)
        raise ValueError("undone on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        master.call(undone)
    answer = master.ask(partial(reports.record, tables=tables), reported(second, 0.9))
    assert answer.directive == "continue"
    assert rungs(master) == [(second.number, 1, 0.9)]
    assert master.ask(partial(reports.record, tables=tables), reported(first, 0.1)).directive == "continue"
    assert len(rungs(master)) == 2


def test_trials_that_report_in_one_transaction_are_compared_with_each_other(master: Any) -> None:
    submit(master)
    first, second = master.claim(slots=2)
    answers = master.call(reports.record, [reported(first, 0.1), reported(second, 0.9)])
    assert [answer.directive for answer in answers] == ["continue", "stop"]


def test_a_maximised_metric_is_compared_in_reverse(master: Any) -> None:
    submit(master, objective={"metric": "loss", "goal": "maximize"})
    first, second = master.claim(slots=2)
    master.ask(reports.record, reported(first, 0.1))
    assert master.ask(reports.record, reported(second, 0.9)).directive == "continue"


def test_samplers_learn_from_rungs(master: Any) -> None:
    submit(master)
    good, bad = master.claim(slots=2)
    master.ask(reports.record, reported(good, 0.1, 0.05))
    master.ask(reports.record, reported(bad, 0.9))
    study = master.read(lambda uow: studies.get(uow.connection, "study"))
    history = histories.empty(study.spec)
    history.fold(
        change for _, change in master.read(lambda uow: list(histories.changes(uow.connection, study.id, after=0)))
    )
    assert {rung: dict(found) for rung, found in history.rungs().items()} == {
        1: {good.number: 0.1, bad.number: 0.9},
        2: {good.number: 0.05},
    }


def test_the_patience_pruner_ends_a_curve_that_no_longer_improves(master: Any) -> None:
    submit(master, pruning={"pruner": "patience", "patience": 2})
    [lease] = master.claim()
    answers = [master.ask(reports.record, reported(lease, 0.5, first=step)) for step in range(3)]
    assert [answer.directive for answer in answers] == ["continue", "continue", "stop"]
    assert rungs(master) == []

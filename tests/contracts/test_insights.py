"""What studies show is worked out when somebody asks, one study at a time, and kept until there is something new."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tunefleet.errors import NotFound
from tunefleet.protocol import StudyFindings, StudyPatch
from tunefleet.study.spec import Budget
from tunefleet_master.diagnosis.insight import Insight
from tunefleet_master.services.insights.insights import (
    BUSY,
    MIN_REST_S,
    NO_TRIALS,
    RETRY_AFTER_S,
    AnalysedStudy,
    Insights,
    insight_of,
)
from tunefleet_master.services.planning import study_control
from tunefleet_master.storage.subscriptions import Subscriptions


class Analyst:
    """Counts what it is asked; says how many trials had ended."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.fails = False
        self.n_at_once = self.most_at_once = 0

    def __call__(self, asked: AnalysedStudy) -> tuple[int, Insight]:
        self.n_at_once += 1
        self.most_at_once = max(self.most_at_once, self.n_at_once)
        assert self.may_go_on.wait(10)
        self.n_at_once -= 1
        self.asked.append((asked.study.name, asked.basis.n_ended))
        if self.fails:
            raise RuntimeError("out of luck")
        return 7, Insight([], None, None, [f"{asked.basis.n_more} to come"])


class Desk:
    """The insights of a master, with a clock that the test moves."""

    def __init__(self, master: Any, *, max_cached: int = 100) -> None:
        self.analyst = Analyst()
        self.now_s = 1_000.0
        self.subscriptions = Subscriptions()
        self.insights = Insights(
            master.database, self.subscriptions, clock=lambda: self.now_s, analyse=self.analyst, max_cached=max_cached
        )

    async def of(self, name: str = "study") -> StudyFindings:
        """The answer when nothing is worked out any more."""
        with self.subscriptions.subscribe(insight_of(name)) as subscription:
            while (found := await self.insights.of(name)).renewing:
                assert await subscription.wait(10)
            return found


def at_a_desk(master: Any, test: Callable[[Desk], Awaitable[None]], **options: Any) -> None:
    """Run a test while the insights' task runs."""

    async def run() -> None:
        desk = Desk(master, **options)
        task = asyncio.create_task(desk.insights.run())
        try:
            await test(desk)
        finally:
            desk.analyst.may_go_on.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def end_trials(master: Any, n: int, study: str = "study") -> None:
    for lease in master.claim(slots=n, study=study):
        master.complete(lease, loss=0.5)


def test_nothing_is_known_and_nothing_worked_out_before_a_trial_has_ended(master: Any) -> None:
    master.submit()

    async def test(desk: Desk) -> None:
        found = await desk.of()
        assert found == StudyFindings(study="study", unknown=[NO_TRIALS])
        assert desk.analyst.asked == []

    at_a_desk(master, test)


def test_an_answer_is_worked_out_once_for_all_who_ask_and_kept(master: Any) -> None:
    master.submit(budget={"trials": 20})
    end_trials(master, 10)

    async def test(desk: Desk) -> None:
        desk.analyst.may_go_on.clear()
        first = await desk.insights.of("study")
        assert (first.unknown, first.renewing, first.n_newer) == ([BUSY], True, 10)
        waiting = asyncio.gather(*(desk.of() for _ in range(10)))
        desk.analyst.may_go_on.set()
        answers = await waiting
        assert {(answer.event, answer.n_ended, answer.n_newer) for answer in answers} == {(7, 10, 0)}
        assert answers[0].unknown == ["10 to come"]
        desk.now_s += 10_000
        assert await desk.of() == answers[0]
        assert desk.analyst.asked == [("study", 10)]

    at_a_desk(master, test)


def test_a_study_that_runs_is_worked_out_again_with_a_tenth_more_trials_and_not_at_once(master: Any) -> None:
    master.submit(budget={"trials": 30})
    end_trials(master, 20)

    async def test(desk: Desk) -> None:
        await desk.of()
        end_trials(master, 1)
        desk.now_s += 10_000
        found = await desk.of()
        assert (found.n_ended, found.n_newer) == (20, 1)
        end_trials(master, 1)
        assert (await desk.of()).n_ended == 22
        end_trials(master, 3)
        desk.now_s += MIN_REST_S - 1
        assert (await desk.of()).n_ended == 22
        desk.now_s += 1
        assert (await desk.of()).n_ended == 25
        assert [n for _, n in desk.analyst.asked] == [20, 22, 25]

    at_a_desk(master, test)


def test_another_budget_is_another_answer_and_the_end_of_a_study_is_looked_at_once(master: Any) -> None:
    master.submit(budget={"trials": 12})
    end_trials(master, 10)

    async def test(desk: Desk) -> None:
        assert (await desk.of()).unknown == ["2 to come"]
        master.call(study_control.change, "study", StudyPatch(budget=Budget(trials=20)))
        desk.now_s += MIN_REST_S
        assert (await desk.of()).unknown == ["10 to come"]
        master.call(study_control.change, "study", StudyPatch(state="stopped"))
        assert (await desk.of()).unknown == ["0 to come"]
        desk.now_s += 10_000
        assert (await desk.of()).unknown == ["0 to come"]
        assert len(desk.analyst.asked) == 3

    at_a_desk(master, test)


def test_a_failure_is_told_beside_what_was_known_and_tried_again_later(master: Any) -> None:
    master.submit(budget={"trials": 20})
    end_trials(master, 5)

    async def test(desk: Desk) -> None:
        desk.analyst.fails = True
        failure = "The newest trials are not analysed: RuntimeError: out of luck"
        assert (await desk.of()).unknown == [failure]
        desk.now_s += RETRY_AFTER_S
        desk.analyst.fails = False
        assert (await desk.of()).unknown == ["15 to come"]
        desk.analyst.fails = True
        end_trials(master, 5)
        desk.now_s += MIN_REST_S
        found = await desk.of()
        assert (found.n_ended, found.n_newer, found.unknown) == (5, 5, ["15 to come", failure])
        assert len(desk.analyst.asked) == 3

    at_a_desk(master, test)


def test_one_study_is_worked_out_at_a_time(master: Any) -> None:
    for name in ("one", "two", "three"):
        master.submit(name=name)
        end_trials(master, 2, name)

    async def test(desk: Desk) -> None:
        found = await asyncio.gather(*(desk.of(name) for name in ("one", "two", "three")))
        assert [(answer.study, answer.n_ended) for answer in found] == [("one", 2), ("two", 2), ("three", 2)]
        assert desk.analyst.most_at_once == 1

    at_a_desk(master, test)


def test_what_was_asked_for_the_longest_time_ago_is_forgotten(master: Any) -> None:
    for name in ("one", "two", "three"):
        master.submit(name=name)
        end_trials(master, 2, name)

    async def test(desk: Desk) -> None:
        for name in ("one", "two", "one", "three", "one", "two"):
            await desk.of(name)
        assert [name for name, _ in desk.analyst.asked] == ["one", "two", "three", "two"]

    at_a_desk(master, test, max_cached=2)


def test_a_study_that_is_deleted_meanwhile_is_not_found(master: Any) -> None:
    for name in ("first", "gone"):
        master.submit(name=name)
        end_trials(master, 2, name)

    async def test(desk: Desk) -> None:
        desk.analyst.may_go_on.clear()
        await desk.insights.of("first")
        assert (await desk.insights.of("gone")).renewing
        master.call(study_control.change, "gone", StudyPatch(state="stopped"))
        master.call(study_control.delete, "gone")
        desk.analyst.may_go_on.set()
        await desk.of("first")
        with pytest.raises(NotFound):
            await desk.of("gone")
        assert desk.analyst.asked == [("first", 2)]

    at_a_desk(master, test)

"""Insights are computed on demand, one study at a time, and cached until there are new results."""

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


class FakeAnalysis:
    """Records its calls; the insight names the number of trials to come."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.fails = False
        self.n_at_once = self.max_at_once = 0

    def __call__(self, asked: AnalysedStudy) -> tuple[int, Insight]:
        self.n_at_once += 1
        self.max_at_once = max(self.max_at_once, self.n_at_once)
        assert self.may_go_on.wait(60)
        self.n_at_once -= 1
        self.asked.append((asked.study.name, asked.basis.n_ended))
        if self.fails:
            raise RuntimeError("out of luck")
        return 7, Insight([], None, None, [f"{asked.basis.n_more} to come"])


class ClockedInsights:
    """The insights of a master, with a clock that the test moves."""

    def __init__(self, master: Any, *, max_cached: int = 100) -> None:
        self.analyst = FakeAnalysis()
        self.now_s = 1_000.0
        self.subscriptions = Subscriptions()
        self.insights = Insights(
            master.database, self.subscriptions, clock=lambda: self.now_s, analyse=self.analyst, max_cached=max_cached
        )

    async def of(self, name: str = "study") -> StudyFindings:
        """Return the answer after the analysis has ended."""
        with self.subscriptions.subscribe(insight_of(name)) as subscription:
            while (found := await self.insights.of(name)).renewing:
                assert await subscription.wait(60)
            return found


def with_insights(master: Any, test: Callable[[ClockedInsights], Awaitable[None]], **options: Any) -> None:
    """Run a test while the task of the insights runs."""

    async def run() -> None:
        clocked = ClockedInsights(master, **options)
        task = asyncio.create_task(clocked.insights.run())
        try:
            await test(clocked)
        finally:
            clocked.analyst.may_go_on.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def end_trials(master: Any, n: int, study: str = "study") -> None:
    for lease in master.claim(slots=n, study=study):
        master.complete(lease, loss=0.5)


def test_no_analysis_runs_before_a_trial_has_ended(master: Any) -> None:
    master.submit()

    async def test(clocked: ClockedInsights) -> None:
        found = await clocked.of()
        assert found == StudyFindings(study="study", unknown=[NO_TRIALS])
        assert clocked.analyst.asked == []

    with_insights(master, test)


def test_concurrent_requests_share_one_analysis_and_its_insight_is_cached(master: Any) -> None:
    master.submit(budget={"trials": 20})
    end_trials(master, 10)

    async def test(clocked: ClockedInsights) -> None:
        clocked.analyst.may_go_on.clear()
        first = await clocked.insights.of("study")
        assert (first.unknown, first.renewing, first.n_newer) == ([BUSY], True, 10)
        waiting = asyncio.gather(*(clocked.of() for _ in range(10)))
        clocked.analyst.may_go_on.set()
        answers = await waiting
        assert {(answer.event, answer.n_ended, answer.n_newer) for answer in answers} == {(7, 10, 0)}
        assert answers[0].unknown == ["10 to come"]
        clocked.now_s += 10_000
        assert await clocked.of() == answers[0]
        assert clocked.analyst.asked == [("study", 10)]

    with_insights(master, test)


def test_a_running_study_is_analysed_again_after_ten_percent_more_trials_and_a_pause(master: Any) -> None:
    master.submit(budget={"trials": 30})
    end_trials(master, 20)

    async def test(clocked: ClockedInsights) -> None:
        await clocked.of()
        end_trials(master, 1)
        clocked.now_s += 10_000
        found = await clocked.of()
        assert (found.n_ended, found.n_newer) == (20, 1)
        end_trials(master, 1)
        assert (await clocked.of()).n_ended == 22
        end_trials(master, 3)
        clocked.now_s += MIN_REST_S - 1
        assert (await clocked.of()).n_ended == 22
        clocked.now_s += 1
        assert (await clocked.of()).n_ended == 25
        assert [n for _, n in clocked.analyst.asked] == [20, 22, 25]

    with_insights(master, test)


def test_a_new_budget_and_the_end_of_a_study_are_analysed_once_each(master: Any) -> None:
    master.submit(budget={"trials": 12})
    end_trials(master, 10)

    async def test(clocked: ClockedInsights) -> None:
        assert (await clocked.of()).unknown == ["2 to come"]
        master.call(study_control.change, "study", StudyPatch(budget=Budget(trials=20)))
        clocked.now_s += MIN_REST_S
        assert (await clocked.of()).unknown == ["10 to come"]
        master.call(study_control.change, "study", StudyPatch(state="stopped"))
        assert (await clocked.of()).unknown == ["0 to come"]
        clocked.now_s += 10_000
        assert (await clocked.of()).unknown == ["0 to come"]
        assert len(clocked.analyst.asked) == 3

    with_insights(master, test)


def test_a_failed_analysis_is_reported_with_the_cached_insight_and_retried_later(master: Any) -> None:
    master.submit(budget={"trials": 20})
    end_trials(master, 5)

    async def test(clocked: ClockedInsights) -> None:
        clocked.analyst.fails = True
        failure = "The newest trials are not analysed: RuntimeError: out of luck"
        assert (await clocked.of()).unknown == [failure]
        clocked.now_s += RETRY_AFTER_S
        clocked.analyst.fails = False
        assert (await clocked.of()).unknown == ["15 to come"]
        clocked.analyst.fails = True
        end_trials(master, 5)
        clocked.now_s += MIN_REST_S
        found = await clocked.of()
        assert (found.n_ended, found.n_newer, found.unknown) == (5, 5, ["15 to come", failure])
        assert len(clocked.analyst.asked) == 3

    with_insights(master, test)


def test_one_study_is_analysed_at_a_time(master: Any) -> None:
    for name in ("one", "two", "three"):
        master.submit(name=name)
        end_trials(master, 2, name)

    async def test(clocked: ClockedInsights) -> None:
        found = await asyncio.gather(*(clocked.of(name) for name in ("one", "two", "three")))
        assert [(answer.study, answer.n_ended) for answer in found] == [("one", 2), ("two", 2), ("three", 2)]
        assert clocked.analyst.max_at_once == 1

    with_insights(master, test)


def test_the_least_recently_used_insight_is_evicted(master: Any) -> None:
    for name in ("one", "two", "three"):
        master.submit(name=name)
        end_trials(master, 2, name)

    async def test(clocked: ClockedInsights) -> None:
        for name in ("one", "two", "one", "three", "one", "two"):
            await clocked.of(name)
        assert [name for name, _ in clocked.analyst.asked] == ["one", "two", "three", "two"]

    with_insights(master, test, max_cached=2)


def test_a_study_that_is_deleted_before_its_analysis_is_skipped(master: Any) -> None:
    for name in ("first", "gone"):
        master.submit(name=name)
        end_trials(master, 2, name)

    async def test(clocked: ClockedInsights) -> None:
        clocked.analyst.may_go_on.clear()
        await clocked.insights.of("first")
        assert (await clocked.insights.of("gone")).renewing
        master.call(study_control.change, "gone", StudyPatch(state="stopped"))
        master.call(study_control.delete, "gone")
        clocked.analyst.may_go_on.set()
        await clocked.of("first")
        with pytest.raises(NotFound):
            await clocked.of("gone")
        assert clocked.analyst.asked == [("first", 2)]

    with_insights(master, test)

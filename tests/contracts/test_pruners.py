"""The contract of every pruner."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.master.pruning.pruner_runs import Curve, Event, PrunerRun, pruner_of, refold

from tunefleet.catalogue.pruners import PRUNERS
from tunefleet_master.pruning.pruner import Action, Pruner, RungArrival
from tunefleet_master.pruning.rungs import RungTable

STEPS = 27
KINDS: dict[str, dict[str, Any]] = {
    "asha": {"eta": 2},
    "asha, promoting": {"eta": 2, "mode": "promote"},
    "hyperband": {},
    "hyperband, promoting": {"mode": "promote"},
    "median": {"startup": 2},
    "percentile": {"startup": 2, "percentile": 10},
    "patience": {"patience": 3},
    "threshold": {"upper": 2.0, "lower": -99.0},
}
Make = Callable[..., Pruner]


@pytest.fixture(params=sorted(KINDS))
def make(request: pytest.FixtureRequest) -> Make:
    """Builds a pruner; keys given replace its own."""
    name, keys = request.param.split(",")[0], KINDS[request.param]
    return lambda steps=STEPS, sign=1.0, **changes: pruner_of(name, steps=steps, sign=sign, **{**keys, **changes})


def falling(trial: int) -> Curve:
    """A curve that falls to a level of its own, which is worse with each trial."""
    return [trial + 1 + 1 / (step + 1) for step in range(STEPS)]


def noisy(seed: int) -> Curve:
    """A curve that goes anywhere between 0 and 3."""
    generator = random.Random(seed)
    return [3 * generator.random() for _ in range(STEPS)]


def filled(pruner: Pruner, *, n: int = 20) -> PrunerRun:
    """A study of `n` trials; each runs until the pruner stops or pauses it."""
    study = PrunerRun(pruner, STEPS)
    for trial in range(n):
        study.run(trial, noisy(trial))
        while (promoted := study.promote()) is not None:
            study.run(promoted, noisy(promoted))
    return study


def test_the_contract_covers_every_pruner() -> None:
    assert {kind.split(",")[0] for kind in KINDS} == set(PRUNERS)


def test_the_same_reports_lead_to_the_same_events_and_messages(make: Make) -> None:
    studies = [filled(make()) for _ in range(2)]
    assert studies[0].events == studies[1].events
    assert studies[0].messages == studies[1].messages


def test_a_restart_of_the_master_changes_no_decision(make: Make) -> None:
    study = filled(make())
    for at in range(0, len(study.events), 7):
        first, later = study.events[:at], study.events[at:]
        table = refold(make(), first)
        for event in later:
            event.tell(table)
        assert decisions(make(), refold(make(), study.events)) == decisions(make(), table)
    assert decisions(make(), study.table) == decisions(make(), refold(make(), study.events))


def decisions(pruner: Pruner, table: RungTable) -> list[object]:
    """Return the decisions on new trials, and the promotions."""
    said: list[object] = [list(pruner.promotable(table)), list(pruner.promotable(table, is_final=True))]
    for rung in (1, 3, 9):
        for value in (0.1, 0.5, 1.0, 2.9):
            said.append(pruner.decide(table, RungArrival(trial=3, rung=rung, value=value, latest=value)))
    return said


def test_the_order_of_earlier_trials_does_not_matter(make: Make) -> None:
    events = [Event("rung", trial, rung, noisy(trial)[rung - 1]) for trial in range(12) for rung in (1, 3, 9)]
    ends = [Event("complete", trial) for trial in range(12)]
    shuffled = [*events]
    random.Random(0).shuffle(shuffled)
    # A trial reaches its own rungs in their order.
    of_trial = {trial: iter([event for event in events if event.trial == trial]) for trial in range(12)}
    reordered = [next(of_trial[event.trial]) for event in shuffled]
    assert decisions(make(), refold(make(), events + ends)) == decisions(make(), refold(make(), reordered + ends[::-1]))


@given(st.randoms(use_true_random=False), st.integers(0, 14))
@settings(max_examples=10)
def test_the_best_trial_so_far_is_never_stopped(chance: random.Random, at: int) -> None:
    for name, keys in KINDS.items():
        study = PrunerRun(pruner_of(name.split(",")[0], steps=STEPS, **keys), STEPS)
        best = [-1.0 - step for step in range(STEPS)]
        curves = [best if trial == at else noisy(chance.randrange(10**6)) for trial in range(15)]
        for trial, curve in enumerate(curves):
            study.run(trial, curve)
            while (promoted := study.promote()) is not None:
                study.run(promoted, curves[promoted])
        while (promoted := study.promote(is_final=True)) is not None:
            study.run(promoted, curves[promoted])
        assert study.n_run(at) == STEPS, name


def test_nothing_is_stopped_before_it_has_run_min_steps(make: Make) -> None:
    study = PrunerRun(make(min=4), STEPS)
    for trial in range(12):
        study.run(trial, falling(trial))
        assert study.n_run(trial) >= 4


def test_some_trial_is_stopped_or_paused(make: Make) -> None:
    study = filled(make())
    assert min(study.n_run(trial) for trial in range(20)) < STEPS


def test_a_single_trial_runs_through(make: Make) -> None:
    study = PrunerRun(make(), STEPS)
    study.run(0, falling(0))
    while study.promote(is_final=True) is not None:
        study.run(0, falling(0))
    assert study.n_run(0) == STEPS


def test_a_trial_that_has_run_all_its_steps_is_complete(make: Make) -> None:
    study = PrunerRun(make(), STEPS)
    for trial in range(10):
        decision = study.report(trial, 1.0 + trial, step=STEPS - 1)
        assert decision is not None
        assert (decision.action, decision.message) == (Action.CONTINUE, "it has run all of its 27 steps")


def test_a_study_without_a_number_of_steps_is_pruned_too(make: Make) -> None:
    needs_max = {"max": 27} if make().name in ("asha", "hyperband") else {}
    study = PrunerRun(make(steps=None, **needs_max), 1_000)
    for trial in range(6):
        study.run(trial, falling(trial))
    assert study.n_run(0) == (1 if study.pruner.pauses else STEPS)


def test_of_equal_trials_the_one_with_the_lowest_number_runs_through(make: Make) -> None:
    study = PrunerRun(make(), STEPS)
    curve = [1.0 / (step + 1) for step in range(STEPS)]
    for trial in range(9):
        study.run(trial, curve)
    while (promoted := study.promote(is_final=True)) is not None:
        study.run(promoted, curve)
    assert study.n_run(0) == STEPS


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nonfinite_values_raise_no_error(make: Make, value: float) -> None:
    study = PrunerRun(make(), STEPS)
    for trial in range(12):
        curve = [value if (trial + step) % 3 == 0 else 0.5 for step in range(STEPS)]
        study.run(trial, curve)
    assert decisions(make(), study.table) == decisions(make(), refold(make(), study.events))


def test_a_nonfinite_value_is_worse_than_every_number(make: Make) -> None:
    study = filled(make())
    for rung in (1, 3, 9):
        said = []
        for value in (math.nan, math.inf):
            table = refold(make(), study.events)
            table.record(30, rung=rung, value=value)
            said.append(make().decide(table, RungArrival(trial=30, rung=rung, value=value, latest=math.inf)))
        assert said[0] == said[1]


def test_diverged_trials_do_not_block_good_ones(make: Make) -> None:
    study = PrunerRun(make(), STEPS)
    for trial in range(8):
        study.run(trial, [math.nan] * STEPS)
    good = [1.0 - step / 100 for step in range(STEPS)]
    assert study.run(8, good) is not Action.STOP


def test_a_trial_that_runs_again_from_its_start_is_not_judged_again(make: Make) -> None:
    pruner = make()
    study = PrunerRun(pruner, STEPS)
    study.report(0, 1.0)
    study.report(0, 1.0, step=2)
    before = list(study.events)
    again = [study.report(0, 99.0 if pruner.compares else 1.0, step=step) for step in (0, 2)]
    assert study.events == before
    assert again == [None, None] or not pruner.compares


def test_trials_with_rare_reports_are_compared_at_equal_steps(make: Make) -> None:
    study = PrunerRun(make(), STEPS)
    for trial in range(4):
        for step in range(4, STEPS, 5):
            decision = study.report(trial, falling(trial)[step], step=step)
            if decision is not None and decision.action is not Action.CONTINUE:
                break
    rungs = {event.rung for event in study.events if event.kind == "rung"}
    assert rungs <= {5, 10, 15, 20, 25}
    assert rungs or not study.pruner.compares


def test_maximising_is_minimising_the_negative_for_pruners(make: Make) -> None:
    bounds = {"upper": 99.0, "lower": -2.0} if make().name == "threshold" else {}
    mirrored, study = filled(make(sign=-1.0, **bounds)), filled(make())
    assert mirrored.events == study.events


def test_messages_show_values_in_the_users_sign(make: Make) -> None:
    for sign, shown in ((1.0, "0.625"), (-1.0, "-0.625")):
        pruner = make(sign=sign)
        study = PrunerRun(pruner, STEPS)
        for trial in range(2):
            study.report(trial, 0.5, step=8)
            study.table.end(trial, is_complete=True)
        decision = study.report(2, 0.625, step=8)
        assert decision is not None
        in_later_bracket = "compared from" in decision.message
        assert in_later_bracket or decision.message.startswith(f"{shown} ")
        assert any(character.isdigit() for character in decision.message)


class CountedFloat(float):
    """A number that counts comparisons: each one calls a Python function."""

    def __lt__(self, other: float) -> bool:
        return float(self) < other

    def __gt__(self, other: float) -> bool:
        return float(self) > other


def n_calls(act: Callable[[], object]) -> int:
    """Count the calls of Python and C functions."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
    return calls


def crowded(pruner: Pruner, n: int) -> RungTable:
    """Return a table of `n` trials at the first rung; half are paused where the pruner pauses."""
    table = pruner.new_table()
    for trial in range(n):
        table.record(trial, rung=1, value=(trial * 7919) % n)
        if pruner.pauses and trial % 2:
            table.pause(trial)
        elif not pruner.pauses:
            table.end(trial, is_complete=True)
    return table


def cost_of_a_report(pruner: Pruner, n: int) -> int:
    """Count the calls and comparisons that record and judge one more trial."""
    table = crowded(pruner, n)
    newcomer = next(trial for trial in range(n, n + 50) if pruner.bracket(trial) == 0)
    value = CountedFloat(n / 3 + 0.5)
    arrival = RungArrival(trial=newcomer, rung=1, value=value, latest=value)

    def report() -> None:
        table.record(newcomer, rung=1, value=value)
        pruner.decide(table, arrival)

    return n_calls(report)


def test_the_cost_of_a_report_grows_slowly_with_the_number_of_trials(make: Make) -> None:
    few, many = (cost_of_a_report(make(), n) for n in (50, 20_000))
    # Each step of a binary search is a comparison and its call, in at most five searches per report.
    assert many - few <= 5 * 2 * math.log2(20_000 / 50)
    assert many <= 150


def test_the_first_promotion_costs_the_same_with_many_trials_paused(make: Make) -> None:
    pruner = make()
    costs = [
        n_calls(lambda table=table: next(pruner.promotable(table), None))  # type: ignore[misc]
        for table in (crowded(pruner, 500), crowded(pruner, 20_000))
    ]
    assert costs[0] == costs[1]

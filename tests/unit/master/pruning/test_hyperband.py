"""Hyperband's brackets: the paper's sizes and rungs, without comparisons across brackets."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.unit.master.pruning.pruner_runs import PrunerRun, pruner_of

from tunefleet_master.pruning.hyperband import bracket_sizes
from tunefleet_master.pruning.pruner import Action

STEPS = 81


def test_brackets_begin_with_as_many_trials_as_in_the_paper() -> None:
    assert bracket_sizes(5, eta=3) == [81, 34, 15, 8, 5]  # n = ceil((s_max + 1) * eta^s / (s + 1)), R = 81, eta = 3
    assert bracket_sizes(4, eta=2) == [8, 6, 4, 4]
    assert bracket_sizes(1, eta=3) == [1]


def first_rung(trial: int, *, steps: int = STEPS) -> int:
    """Return the step at which a trial that is worse than all others is stopped; `steps`: never."""
    pruner = pruner_of("hyperband", steps=steps)
    study = PrunerRun(pruner, steps)
    for rival in range(1_000):
        if rival != trial and pruner.bracket(rival) == pruner.bracket(trial):
            study.run(rival, [0.1] * steps)
            break
    study.run(trial, [0.9] * steps)
    return study.n_run(trial)


def test_each_bracket_has_the_first_rung_of_the_paper() -> None:
    pruner = pruner_of("hyperband", steps=STEPS)
    seen = {pruner.bracket(trial): trial for trial in range(50)}
    assert [first_rung(seen[bracket]) for bracket in range(5)] == [1, 3, 9, 27, 81]


@pytest.mark.parametrize("steps", [3, 27, 81, 100])
def test_every_prefix_of_a_study_has_the_papers_shares_of_brackets(steps: int) -> None:
    pruner = pruner_of("hyperband", steps=steps)
    n_brackets = len({pruner.bracket(trial) for trial in range(1_000)})
    sizes = bracket_sizes(n_brackets, eta=3)
    counts: Counter[int] = Counter()
    for trial in range(1_000):
        counts[pruner.bracket(trial)] += 1
        for bracket, size in enumerate(sizes):
            assert abs(counts[bracket] - (trial + 1) * size / sum(sizes)) < 3


def test_a_trial_is_compared_with_those_of_its_bracket_only() -> None:
    pruner = pruner_of("hyperband", steps=STEPS)
    study = PrunerRun(pruner, STEPS)
    for trial in range(60):
        decision = study.report(trial, float(trial), step=8)
        assert decision is not None
        others = [other for other in range(trial) if pruner.bracket(other) == pruner.bracket(trial)]
        if pruner.bracket(trial) <= 2:
            assert f"rank {len(others) + 1} of {len(others) + 1} after 9 steps" in decision.message
        else:
            assert decision.action is Action.CONTINUE
            assert "compared from" in decision.message


def test_each_bracket_is_an_asha_of_its_own() -> None:
    pruner = pruner_of("hyperband", steps=STEPS)
    second = [trial for trial in range(200) if pruner.bracket(trial) == 1]
    hyperband, asha = PrunerRun(pruner, STEPS), PrunerRun(pruner_of("asha", steps=STEPS, min=3), STEPS)
    for i, trial in enumerate(second):
        curve = [((7 * i) % 23) / (step + 1) for step in range(STEPS)]
        assert hyperband.run(trial, curve) is asha.run(trial, curve)
        assert hyperband.n_run(trial) == asha.n_run(trial)


def test_paused_trials_of_all_brackets_are_promoted_from_the_highest_rung_down() -> None:
    pruner = pruner_of("hyperband", steps=STEPS, mode="promote")
    study = PrunerRun(pruner, STEPS)
    paused = [trial for trial in range(60) if study.run(trial, [1.0 - trial / 100] * STEPS) is Action.PAUSE]
    rungs = [study.n_run(trial) for trial in iter(lambda: study.promote(is_final=True), None)]
    assert paused
    assert rungs == sorted(rungs, reverse=True)

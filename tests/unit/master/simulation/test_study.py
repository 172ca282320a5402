"""The master's side of a simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tunefleet.study.space import Configuration, Space
from tunefleet.study.spec import Pruning, StudySpec
from tunefleet_master.pruning.registry import pruner_class
from tunefleet_master.search.history import History, Outcome
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.sampler import Sampler
from tunefleet_master.simulation.fleet import Fleet, Limit, Measurement
from tunefleet_master.simulation.study import SimulatedStudy
from tunefleet_master.simulation.training_run import TrainingRun

N_STEPS = 9


def space_of(**parameters: Any) -> Space:
    spec = {"name": "s", "objective": {"metric": "m", "goal": "minimize"}, "run": {"function": "a:b"}}
    return StudySpec.parse({**spec, "space": parameters or {"x": {"float": [0, 1]}}}).search_space


def curve(configuration: Configuration) -> TrainingRun:
    """Nine steps of a second towards x; the order is clear from the first."""
    x = configuration["x"]
    assert isinstance(x, float)
    return TrainingRun(
        tuple(x + 1 / step for step in range(1, N_STEPS + 1)), tuple(float(s) for s in range(1, N_STEPS + 1))
    )


def run(study: SimulatedStudy, *, n_workers: int = 4, n_trials: int = 30) -> list[Measurement]:
    return list(Fleet(study, curve, n_workers).run(Limit(trials=n_trials)))


def halving(mode: str, *, seed: int = 0) -> SimulatedStudy:
    pruner = pruner_class("asha")(Pruning.model_validate({"pruner": "asha", "mode": mode}), steps=N_STEPS)
    return SimulatedStudy(RandomSampler(space_of(), seed=seed), pruner=pruner)


class Watching(Sampler):
    """A random sampler that records the histories it sees."""

    name = "watching"

    def __init__(self, space: Space, *, seed: int) -> None:
        super().__init__(space, seed=seed)
        self.seen: list[tuple[int, int]] = []

    def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
        assert n == 1
        self.seen.append((history.n_ended, len(history.pending)))
        return RandomSampler(self.space, seed=self.seed).propose(position, n, history=history)


def test_a_sampler_sees_what_has_ended_and_what_is_pending() -> None:
    sampler = Watching(space_of(), seed=0)
    run(SimulatedStudy(sampler), n_workers=3, n_trials=5)
    # All last as long, so that the first three end one after the other at the same moment.
    assert sampler.seen == [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2)]


def test_the_same_seed_gives_the_same_trace() -> None:
    assert run(halving("stop")) == run(halving("stop"))
    assert run(halving("promote")) == run(halving("promote"))
    assert run(halving("stop")) != run(halving("stop", seed=1))


def test_a_complete_trial_counts_by_its_best_report_or_by_its_last() -> None:
    def train(_: Configuration) -> TrainingRun:
        return TrainingRun((2.0, 1.0, 3.0), (1.0, 2.0, 3.0))

    for counts_best, value in ((True, 1.0), (False, 3.0)):
        study = SimulatedStudy(RandomSampler(space_of(), seed=0), counts_best=counts_best)
        list(Fleet(study, train, 1).run(Limit(trials=1)))
        assert study.history.outcomes.tolist() == [Outcome.COMPLETE]
        assert study.history.values.tolist() == [[value]]
        assert study.history.steps.tolist() == [3]


def test_values_are_folded_minimised_where_the_objective_is_maximised() -> None:
    study = SimulatedStudy(RandomSampler(space_of(), seed=0), sign=-1.0)
    list(Fleet(study, lambda _: TrainingRun((2.0, 5.0), (1.0, 2.0)), 1, sign=-1.0).run(Limit(trials=1)))
    assert study.history.values.tolist() == [[-5.0]]


def test_a_training_without_a_number_is_infeasible() -> None:
    study = SimulatedStudy(RandomSampler(space_of(), seed=0))
    list(Fleet(study, lambda _: TrainingRun((math.nan,), (1.0,)), 1).run(Limit(trials=2)))
    assert study.history.outcomes.tolist() == [Outcome.INFEASIBLE] * 2


def test_halving_finds_as_good_a_trial_with_a_fraction_of_the_work() -> None:
    full = run(SimulatedStudy(RandomSampler(space_of(), seed=0)))
    for mode in ("stop", "promote"):
        halved = run(halving(mode))
        assert halved[-1].best == full[-1].best
        assert halved[-1].work_s < full[-1].work_s / 2


def test_rungs_are_folded_into_the_history() -> None:
    study = halving("stop")
    run(study)
    rungs = study.history.rungs()
    assert set(rungs) == {1, 3, 9}
    assert len(rungs[1]) == 30
    assert len(rungs[1]) > len(rungs[3]) > len(rungs[9])
    outcomes = study.history.outcomes.tolist()
    assert outcomes.count(Outcome.COMPLETE) == len(rungs[9])
    assert outcomes.count(Outcome.PRUNED) == 30 - len(rungs[9])


def test_paused_trials_are_promoted_until_none_may_continue() -> None:
    study = halving("promote")
    run(study)
    assert set(study.history.rungs()[9]) == set(
        np.argsort([study.history.rungs()[3].get(trial, math.inf) for trial in range(30)])[
            : len(study.history.rungs()[9])
        ]
    )
    assert len(study.history.pending) == 30 - len(study.history.rungs()[9])  # paused for good


def test_a_sampler_that_has_no_more_ends_the_study() -> None:
    class Short(Watching):
        def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
            drawn = super().propose(position, n, history=history)
            return drawn if position < 3 else []

    assert len({measurement.trial for measurement in run(SimulatedStudy(Short(space_of(), seed=0)))}) == 3


def test_positions_without_a_configuration_are_passed_over() -> None:
    class Gappy(Watching):
        def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
            drawn = super().propose(position, n, history=history)
            return drawn if position % 3 == 2 else [None]

    assert len({measurement.trial for measurement in run(SimulatedStudy(Gappy(space_of(), seed=0)), n_trials=4)}) == 4

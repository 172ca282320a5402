"""ASHA, against a literal implementation of the paper's algorithm."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.master.pruning.pruner_runs import PrunerRun, pruner_of

from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.asha import rungs
from tunefleet_master.pruning.pruner import Action

ETA = 3
STEPS = 27
LOSSES = st.lists(st.integers(0, 9).map(float), max_size=60)  # few values, so that there are ties


@dataclass
class Algorithm2:
    """Algorithm 2 of https://arxiv.org/abs/1810.05934 with r = 1, R = 27, s = 0, each draw being the next trial."""

    rungs: list[dict[int, float]] = field(default_factory=lambda: [{}, {}, {}, {}])
    promoted: set[tuple[int, int]] = field(default_factory=set)
    n_drawn: int = 0

    def get_job(self) -> tuple[int, int]:
        for k in (2, 1, 0):
            rung = self.rungs[k]
            candidates = sorted(rung, key=lambda trial: (rung[trial], trial))[: len(rung) // ETA]
            promotable = [trial for trial in candidates if (trial, k) not in self.promoted]
            if promotable:
                self.promoted.add((promotable[0], k))
                return promotable[0], k + 1
        self.n_drawn += 1
        return self.n_drawn - 1, 0


@dataclass
class Ours:
    """The same interface for our pruner."""

    study: PrunerRun = field(default_factory=lambda: PrunerRun(pruner_of("asha", mode="promote"), STEPS))
    n_drawn: int = 0

    def get_job(self) -> tuple[int, int]:
        trial = self.study.promote()
        if trial is None:
            trial = self.n_drawn
            self.n_drawn += 1
        return trial, self._rung(trial)

    def finish(self, trial: int, k: int, *, loss: float) -> tuple[int, int]:
        """End a job of rung k, and return the next job of its worker."""
        decision = self.study.report(trial, loss, step=ETA**k - 1)
        assert decision is not None
        goes_on = decision.action is Action.CONTINUE and k < 3
        return (trial, k + 1) if goes_on else self.get_job()

    def _rung(self, trial: int) -> int:
        return {0: 0, 1: 1, 3: 2, 9: 3}[self.study.table.reached(trial)]


@given(st.integers(1, 9), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_promotion_gives_each_worker_the_jobs_of_the_paper(n_workers: int, chance: random.Random) -> None:
    paper, ours = Algorithm2(), Ours()
    jobs = [paper.get_job() for _ in range(n_workers)]
    assert [ours.get_job() for _ in range(n_workers)] == jobs
    for _ in range(100):
        worker = chance.randrange(n_workers)
        trial, k = jobs[worker]
        loss = float(chance.randrange(20))
        paper.rungs[k][trial] = loss
        jobs[worker] = paper.get_job()
        assert ours.finish(trial, k, loss=loss) == jobs[worker]


def gone_on(losses: Sequence[float]) -> set[int]:
    """Return the trials that continued from the first rung, after all arrived in sequence."""
    study = PrunerRun(pruner_of("asha", mode="promote"), STEPS)
    at_once = {trial for trial, loss in enumerate(losses) if _action(study, trial, loss) is Action.CONTINUE}
    promoted = set(iter(study.promote, None))
    return at_once | promoted


def _action(study: PrunerRun, trial: int, loss: float) -> Action:
    decision = study.report(trial, loss)
    assert decision is not None
    return decision.action


@given(LOSSES)
def test_the_best_third_continues_in_any_order_of_arrival(losses: list[float]) -> None:
    order = sorted(range(len(losses)), key=lambda trial: (losses[trial], trial))
    assert gone_on(losses) >= set(order[: len(losses) // ETA])


@given(LOSSES)
def test_only_the_best_third_continues_if_the_best_arrive_first(losses: list[float]) -> None:
    assert gone_on(sorted(losses)) == set(range(len(losses) // ETA))


@given(LOSSES)
def test_a_trial_that_is_not_among_the_best_third_when_it_arrives_stops(losses: list[float]) -> None:
    study = PrunerRun(pruner_of("asha"), STEPS)
    for trial, loss in enumerate(losses):
        better = sum(other <= loss for other in losses[:trial])
        goes_on = better < max(1, (trial + 1) // ETA)
        assert _action(study, trial, loss) is (Action.CONTINUE if goes_on else Action.STOP)


@pytest.mark.parametrize(
    ("keys", "steps", "expected"),
    [
        ({}, 27, (1, 3, 9, 27)),
        ({}, 26, (1, 3, 9)),
        ({"min": 2, "eta": 4}, 100, (2, 8, 32)),
        ({"max": 9}, 100, (1, 3, 9)),
        ({"max": 9}, None, (1, 3, 9)),
        ({"max": 9}, 2, (1,)),  # a short stage
        ({"min": 5}, 4, (5,)),
    ],
)
def test_rungs_are_a_geometric_sequence(keys: dict[str, int], steps: int | None, expected: tuple[int, ...]) -> None:
    assert rungs(Pruning.parse({"pruner": "asha", **keys}), steps=steps) == expected


def test_rungs_of_many_steps_are_exact() -> None:
    assert rungs(Pruning(pruner="asha"), steps=3**14)[-1] == 3**14
    assert rungs(Pruning(pruner="asha"), steps=3**14 - 1)[-1] == 3**13


def test_a_trial_is_compared_at_rungs_and_never_stopped_at_its_end() -> None:
    pruner = pruner_of("asha", steps=20)
    study = PrunerRun(pruner, 20)
    assert [step for step in range(20) if study.report(0, 1.0) is not None] == [0, 2, 8, 19]


def test_the_last_trial_of_a_small_study_is_promoted_when_no_more_come() -> None:
    study = PrunerRun(pruner_of("asha", mode="promote"), STEPS)
    curves = {0: [0.5] * STEPS, 1: [0.3] * STEPS}
    assert [study.run(trial, curve) for trial, curve in curves.items()] == [Action.PAUSE, Action.PAUSE]
    assert study.promote() is None
    for n_run in (3, 9, 27):
        assert study.promote(is_final=True) == 1
        study.run(1, curves[1])
        assert study.n_run(1) == n_run
    assert study.promote(is_final=True) is None


def test_higher_rungs_are_promoted_from_first() -> None:
    study = PrunerRun(pruner_of("asha", mode="promote", eta=2), STEPS)
    for trial, loss in enumerate([0.9, 0.8, 0.7, 0.6]):
        study.report(trial, loss, step=1)
    for trial, loss in enumerate([0.5, 0.4, 0.3, 0.2]):
        study.report(10 + trial, loss, step=3)
        study.table.pause(10 + trial)
    for trial in range(4):
        study.table.pause(trial)
    assert list(study.pruner.promotable(study.table)) == [13, 12, 3, 2]


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("stop", "0.9 is rank 12 of 12 after 3 steps; the best 4 continue"),
        ("promote", "0.9 is rank 12 of 12 after 3 steps; the best 4 continue"),
    ],
)
def test_the_message_states_the_rank(mode: str, message: str) -> None:
    study = PrunerRun(pruner_of("asha", mode=mode), STEPS)
    for trial in range(11):
        study.report(trial, 0.1 + trial / 100, step=2)
    decision = study.report(11, 0.9, step=2)
    assert decision is not None
    assert (decision.action, decision.message) == (Action.PAUSE if mode == "promote" else Action.STOP, message)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("stop", "0.9 is rank 1 of 1 after 1 step; the best one continues"),
        ("promote", "0.9 is rank 1 of 1 after 1 step; none continues before 3 trials have reached this step"),
    ],
)
def test_the_message_to_the_first_trial_of_a_rung_states_what_it_waits_for(mode: str, message: str) -> None:
    decision = PrunerRun(pruner_of("asha", mode=mode), STEPS).report(0, 0.9)
    assert decision is not None
    assert decision.message == message

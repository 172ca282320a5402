"""Three stages in boxes that close around the best against one stage everywhere, at the same number of epochs.

Each stage has a third of the trials of the one before and three times their epochs, in the product's box around its
top quartile. All trainings are real; a search counts by the least validation error of all its trials.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pytest
from benchmarks.search_quality import curves, stored
from numpy.typing import NDArray
from tests.unit.master.search.search_runs import number, space_of
from tests.unit.worker.trained import network, parts

from tunefleet.study.space import Configuration, Space
from tunefleet_master.search.history import Change, Edit, History, Outcome
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.stage_box import apply_box, box_around_best
from tunefleet_worker.training.epochs import score, train_epoch
from tunefleet_worker.training.optimizers import build_optimizer

SHRINK, N_STAGES, KEEP = 3, 3, 0.25

Stages = list[tuple[int, int]]
"""The trials of each stage, and the epochs of each of them."""

Error = Callable[[Configuration, int], float]
"""The validation error of a configuration that was trained for so many epochs."""


@dataclass(frozen=True)
class Found:
    """The result of a search: its lowest error, its total epochs, and the space of each stage."""

    error: float
    epochs: int
    spaces: list[Space]

    def lost(self, configuration: Configuration) -> list[set[str]]:
        """Return, for each box, the parameters of a configuration that lie outside of it."""
        return [
            {name for name, value in configuration.items() if not space.parameters[name].contains(value)}
            for space in self.spaces[1:]
        ]


@dataclass(frozen=True)
class Comparison:
    """Compare the error with and without stages.

    Attributes:
        gain: in the mean over the seeds.
        uncertainty: its standard error.
        lost: the share of seeds whose last box does not hold the best known configuration.
    """

    gain: float
    uncertainty: float
    lost: float


def planned(n_full: int, epochs: int) -> Stages:
    """Return stages with the total epochs of `n_full` trials of `epochs`."""
    shares = [SHRINK ** (N_STAGES - 1 - stage) for stage in range(N_STAGES)]
    return [(n_full // N_STAGES * share, epochs // share) for share in shares]


def search(stages: Stages, space: Space, error: Error, *, seed: int) -> Found:
    """Run random search in the space, and then in the box around the best of each stage."""
    ends = np.cumsum([n for n, _ in stages]).tolist()
    history, spaces, errors, n_epochs = History(space, stages=ends[:-1]), [space], [], 0
    for stage, (n, epochs) in enumerate(stages):
        if stage > 0:
            box = box_around_best(history, space, stage=stage - 1, keep=KEEP)
            spaces.append(Space(apply_box(space.parameters, box.parameters)))
            history.fold([Edit(spaces[-1])])
        for configuration in RandomSampler(spaces[-1], seed=seed).propose(ends[stage] - n, n, history=history):
            assert configuration is not None
            errors.append(error(configuration, epochs))
            n_epochs += epochs
            begun = Change(history.n, Outcome.PENDING, params=configuration)
            history.fold([begun, Change(history.n, Outcome.COMPLETE, values=(errors[-1],), steps=epochs)])
    return Found(min(errors), n_epochs, spaces)


def compared(stages: Stages, space: Space, error: Error, *, best: Configuration, seeds: int) -> Comparison:
    """Run the stages, and a single stage of full trials with equal epochs, over many seeds."""
    flat = [(stages[-1][0] * N_STAGES, stages[-1][1])]
    staged = [search(stages, space, error, seed=seed) for seed in range(seeds)]
    alone = [search(flat, space, error, seed=seeds + seed) for seed in range(seeds)]
    assert {it.epochs for it in (*staged, *alone)} == {flat[0][0] * flat[0][1]}
    gains = np.array([it.error for it in alone]) - np.array([it.error for it in staged])
    gain, of_gain = float(gains.mean()), float(gains.std(ddof=1)) / math.sqrt(seeds)
    outside = [it.lost(best) for it in staged]
    lost = fmean(bool(last) for _, last in outside)
    print(f"\n{stages} against {flat}: {fmean(it.error for it in staged):.4f} against ", end="")
    print(f"{fmean(it.error for it in alone):.4f}, gain {gain:.4f} ± {of_gain:.4f}, ", end="")
    print(f"better in {np.mean(gains > 0):.2f} of {seeds}; the best known place was lost by the first box in ", end="")
    print(f"{fmean(bool(first) for first, _ in outside):.2f}, by the last one in {lost:.2f}: ", end="")
    print(dict(Counter(name for _, last in outside for name in last)))
    return Comparison(gain, of_gain, lost)


EPOCHS = 27
RATES = tuple((10.0 ** np.arange(-6, 1.01, 0.5)).tolist())
BATCHES = (64, 128, 256, 512)
WIDE = space_of({"lr": {"log": [RATES[0], RATES[-1]]}, "batch_size": {"int": [BATCHES[0], BATCHES[-1]], "log": True}})


@pytest.fixture(scope="module")
def trained() -> NDArray[np.float64]:
    """The lowest validation error so far of a perceptron under SGD (rates, batches, epochs)."""
    errors = np.empty((len(RATES), len(BATCHES), EPOCHS))
    samples, held_out = parts()
    for i, j in np.ndindex(errors.shape[:2]):
        model = network(kind="mlp", width=32, depth=2)
        optimizer = build_optimizer("sgd", model, lr=RATES[i])
        for epoch in range(EPOCHS):
            train_epoch(model, samples, optimizer=optimizer, batch_size=BATCHES[j])
            errors[i, j, epoch] = 1 - score(model, held_out).accuracy
    return np.minimum.accumulate(errors, axis=2)


@pytest.mark.slow
def test_three_stages_beat_one_of_equal_cost_on_wide_ranges(trained: NDArray[np.float64]) -> None:
    def error(configuration: Configuration, epochs: int) -> float:
        """Interpolate linearly between trained configurations."""
        x = 2 * (math.log10(number(configuration, "lr")) + 6)
        y = math.log2(number(configuration, "batch_size") / BATCHES[0])
        i, j = min(int(x), len(RATES) - 2), min(int(y), len(BATCHES) - 2)
        corners = trained[i : i + 2, j : j + 2, epochs - 1]
        return float(np.array([1 - x + i, x - i]) @ corners @ np.array([1 - y + j, y - j]))

    i, j = np.unravel_index(trained[:, :, -1].argmin(), trained.shape[:2])
    best: Configuration = {"lr": RATES[int(i)], "batch_size": BATCHES[int(j)]}
    for n_full in (9, 18):
        seen = compared(planned(n_full, EPOCHS), WIDE, error, best=best, seeds=200)
        assert seen.gain > max(0.01, 3 * seen.uncertainty)
        assert seen.lost < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("n_full", [9, 18, 27])
def test_stages_gain_nothing_if_short_trials_predict_little(n_full: int) -> None:
    """The box around the best quarter of a few dozen trials usually excludes the best of 400 networks."""
    configurations, columns = stored.read(curves.FILE)
    task, epochs = curves.load("mnist1d"), 45
    best = configurations[int(columns["val_accuracy"][:, :epochs].max(axis=1).argmax())]
    seen = compared(
        planned(n_full, epochs), task.space, lambda it, n: task.train(it).values[n - 1], best=best, seeds=100
    )
    assert -0.05 < seen.gain < 0.01
    assert seen.lost > 0.5

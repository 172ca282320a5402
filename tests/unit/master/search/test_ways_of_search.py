"""What the ways of search are worth beside each other, on the same work and over many seeds.

Where it can be, on real trainings: `benchmarks/choosing/mnist1d_curves.npz` has 400 networks.
"""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import numpy as np
from benchmarks.choosing import curves
from scipy.stats import mannwhitneyu
from tests.unit.master.search.searched import drawn, end, number, space_of

from tunefleet.parameters import Choice
from tunefleet.space import Configuration, Space
from tunefleet_master.search.boxes import box_around_best
from tunefleet_master.search.grid import GridSampler
from tunefleet_master.search.history import Edit, History
from tunefleet_master.search.random import RandomSampler


def at_random(space: Space, n: int, *, seed: int) -> list[Configuration]:
    return drawn(RandomSampler(space, seed=seed).propose(0, n, history=History(space)))


def test_where_two_of_seven_parameters_matter_32_random_trials_are_better_than_a_grid_of_128() -> None:
    space = space_of({f"x{i}": {"float": [0.0, 1.0], "points": 2} for i in range(7)})
    grid = GridSampler(space, seed=0).propose(0, 200, history=History(space))
    assert len(grid) == 128
    gains = []
    for seed in range(50):
        a, b = np.random.default_rng(seed).random(2)

        def loss(it: Configuration, a: float = a, b: float = b) -> float:
            return math.hypot(number(it, "x0") - a, number(it, "x1") - b)

        gains.append(min(map(loss, grid)) - min(map(loss, at_random(space, 32, seed=seed))))
    assert fmean(gains) > 0.1


def linear(parameter: Any) -> Any:
    """A parameter on a linear scale."""
    if not isinstance(parameter, dict):
        return parameter
    if isinstance(bounds := parameter.get("log"), list):
        return {"float": bounds}
    return {key: value for key, value in parameter.items() if key != "log"}


def test_random_search_is_better_than_changing_something_at_random_from_the_defaults() -> None:
    task, steps = curves.load("mnist1d"), space_of({name: linear(it) for name, it in curves.PARAMETERS.items()})
    defaults = {
        **{"kind": "cnn", "optimizer": "adam", "lr": 1e-3, "batch_size": 64, "depth": 2, "channels": 16, "kernel": 3},
        **{"momentum": 0.9, "units": 64, "weight_decay": 1e-6, "dropout": 0.0},
    }

    def error(configuration: Configuration) -> float:
        return task.train(configuration).values[-1]

    def climbed(seed: int) -> float:
        """One parameter at a time, a tenth of its range up or down or any choice, kept where it is no worse."""
        generator = np.random.default_rng(seed)
        point = {name: steps.parameters[name].to_unit(value) for name, value in defaults.items()}
        least = error(steps.from_unit(point))
        for _ in range(29):
            name = str(generator.choice(steps.names))
            moved = float(np.clip(point[name] + generator.choice([-0.1, 0.1]), 0, 1))
            tried = {
                **point,
                name: float(generator.random()) if isinstance(steps.parameters[name], Choice) else moved,
            }
            if (loss := error(steps.from_unit(tried))) <= least:
                least, point = loss, tried
        return least

    ours = [min(map(error, at_random(curves.SPACE, 30, seed=seed))) for seed in range(20)]
    theirs = [climbed(seed) for seed in range(20)]
    assert mannwhitneyu(ours, theirs, alternative="less").pvalue < 0.01


WIDE = space_of(
    {
        "lr": {"log": [1e-6, 1.0]},
        "weight_decay": {"log": [1e-6, 1e-1]},
        "width": {"int": [8, 512], "log": True},
        "dropout": {"float": [0.0, 0.8]},
    }
)


def error_after(configuration: Configuration, steps: int, *, noise: float) -> float:
    """A learning curve that falls as a power of the steps, more slowly at a bad rate."""
    rate, decay, width = (math.log10(number(configuration, name)) for name in ("lr", "weight_decay", "width"))
    end = 0.06 * (rate + 2.5) ** 2 + 0.02 * (decay + 4) ** 2 + 0.1 * (width - 2.2) ** 2
    end += 0.3 * (number(configuration, "dropout") - 0.2) ** 2
    return 0.05 + end + 0.6 * steps**-0.7 * (1 + 0.5 * abs(rate + 2.5)) + 0.01 * noise


def best_of_rounds(rounds: list[tuple[int, int]], *, seed: int) -> float:
    """The best error of the last round; each is drawn in the box around the best quarter of the one before."""
    history, space = History(WIDE, stages=[n for n, _ in rounds]), WIDE
    generator = np.random.default_rng(seed)
    errors: list[float] = []
    for stage, (n, steps) in enumerate(rounds):
        errors = []
        for configuration in at_random(space, n, seed=int(generator.integers(2**31))):
            errors.append(error_after(configuration, steps, noise=generator.standard_normal()))
            end(history, configuration, errors[-1])
        if stage + 1 < len(rounds):
            space = Space({**WIDE.parameters, **box_around_best(history, WIDE, stage=stage, keep=0.25).parameters})
            history.fold([Edit(space)])
    return min(errors)


def test_three_rounds_from_coarse_to_fine_are_better_than_one_of_the_same_work() -> None:
    rounds = [(81, 5), (27, 15), (9, 45)]  # 405 steps each
    fine = [best_of_rounds(rounds, seed=seed) for seed in range(40)]
    flat = [best_of_rounds([(27, 45)], seed=1_000 + seed) for seed in range(40)]
    assert mannwhitneyu(fine, flat, alternative="less").pvalue < 0.05

"""Starting from recipes against starting cold, on the table of digits' multilayer perceptrons."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from benchmarks.search_quality import digits

from tunefleet.study.recipes import starts
from tunefleet.study.space import Configuration
from tunefleet.study.spec import StudySpec
from tunefleet_master.search import registry
from tunefleet_master.search.history import Change, History, Outcome

N_TRIALS, SEEDS = 20, 40
RECIPES = ("adam-defaults", "resnet-cifar", "sgdr")
SPACE: dict[str, Any] = {
    "lr": {"log": [digits.MLP_LR[0], digits.MLP_LR[-1]]},
    "units": {"int": [8, 64], "log": True},
    "depth": {"int": [1, 2]},
    "batch_size": {"int": [64, 128], "log": True},
    "activation": ["relu", "tanh"],
    "optimizer": ["sgd", "adam"],
    "momentum": {"float": [0.0, 0.9], "when": "optimizer == 'sgd'"},
}
KNOWN = {
    "lr": digits.MLP_LR,
    "units": digits.MLP_UNITS,
    "batch_size": digits.MLP_BATCH,
    "momentum": digits.MLP_MOMENTUM,
}


def spec_of(sampler: str, seed: int, recipes: tuple[str, ...]) -> StudySpec:
    return StudySpec.parse(
        {
            "name": "study",
            "objective": {"metric": "loss", "goal": "minimize"},
            "run": {"function": "train:train"},
            "space": SPACE,
            "search": {"sampler": sampler, "seed": seed, "start_from": list(recipes)},
            "budget": {"trials": N_TRIALS},
        }
    )


def loss(params: Configuration) -> float:
    """Of the table's nearest row, on a log scale where there is one."""
    row = dict(params)
    for name, values in KNOWN.items():
        if name in params:
            given = float(params[name])  # type: ignore[arg-type]
            scale = math.log if name != "momentum" else float
            row[name] = min(range(len(values)), key=lambda i: abs(scale(values[i]) - scale(given)))
    return digits.load("mlp").train(row).values[0]


def best_so_far(sampler: str, seed: int, *recipes: str) -> list[float]:
    """The regret after each trial of a study: 0 is the best row, 1 the median draw."""
    spec = spec_of(sampler, seed, recipes)
    tuner = registry.build(sampler, spec)
    history = History(tuner.space, signs=(1.0,))
    proposed = (params for at in itertools.count() for params in tuner.propose(at, 1, history=history) if params)
    chosen = itertools.chain((start.params for start in starts(spec)), proposed)
    values: list[float] = []
    for number, params in enumerate(itertools.islice(chosen, N_TRIALS)):
        values.append(loss(params))
        history.fold([Change(number, Outcome.PENDING, params=params)])
        history.fold([Change(number, Outcome.COMPLETE, values=(values[-1],), steps=1)])
    return [digits.load("mlp").regret(float(value)) for value in np.minimum.accumulate(values)]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_study_that_starts_from_recipes_is_ahead_at_first_and_not_behind_after_twenty_trials(sampler: str) -> None:
    """Recipes of other data and networks help at once; what a search finds later is as good without them."""
    cold = np.array([best_so_far(sampler, seed) for seed in range(SEEDS)])
    warm = np.array([best_so_far(sampler, seed, *RECIPES) for seed in range(SEEDS)])
    behind = warm - cold
    error = behind.std(axis=0, ddof=1) / math.sqrt(SEEDS)
    for at in (3, 5, 10, 20):
        print(
            f"{sampler} after {at}: cold {cold[:, at - 1].mean():.4f}, from recipes {warm[:, at - 1].mean():.4f}, ",
            end="",
        )
        print(f"behind {behind[:, at - 1].mean():.4f} ± {error[at - 1]:.4f}")
    assert behind[:, 2].mean() < 0
    assert behind[:, 19].mean() < min(0.05, 2 * error[19])

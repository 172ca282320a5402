"""Searches in memory: a sampler proposes, a function returns the value, and the history grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from scipy.stats import mannwhitneyu

from tunefleet.study.space import Configuration, Space
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.history import Change, History, Outcome
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.sampler import Sampler

Function = Callable[[Configuration], float]
"""A function to minimise."""


def space_of(parameters: dict[str, Any], *constraints: str) -> Space:
    spec = {
        "name": "s",
        "objective": {"metric": "m", "goal": "minimize"},
        "run": {"function": "a:b"},
        "space": parameters,
        "constraints": list(constraints),
    }
    return StudySpec.parse(spec).search_space


def number(configuration: Configuration, name: str) -> float:
    return float(cast("float", configuration[name]))


def configurations_in(proposals: Sequence[Configuration | None]) -> list[Configuration]:
    """Return the proposals that are not None."""
    return [proposal for proposal in proposals if proposal is not None]


def end(history: History, configuration: Configuration, *values: float, outcome: Outcome = Outcome.COMPLETE) -> None:
    """Add a trial that ends at once."""
    trial = history.n
    history.fold([Change(trial, Outcome.PENDING, params=configuration), Change(trial, outcome, values=values, steps=1)])


def history_of(
    space: Space, configurations: Sequence[Configuration], function: Function, *, signs: tuple[float, ...] = (1.0,)
) -> History:
    """Return a history of complete trials with these values."""
    history = History(space, signs=signs)
    for configuration in configurations:
        end(history, configuration, function(configuration))
    return history


def best_found(sampler: Sampler, function: Function, n: int) -> float:
    """Return the best value of a sequential search."""
    history = History(sampler.space)
    for position in range(n):
        (configuration,) = sampler.propose(position, 1, history=history)
        assert configuration is not None
        end(history, configuration, function(configuration))
    return float(history.values[:, 0].min())


def mann_whitney_p(kind: type[Sampler], space: Space, function: Function, *, n: int, n_seeds: int = 20) -> float:
    """Return the p-value of a Mann-Whitney test that the sampler finds no better values than random search does."""
    ours, random = (
        [best_found(each(space, seed=seed), function, n) for seed in range(n_seeds)] for each in (kind, RandomSampler)
    )
    return float(mannwhitneyu(ours, random, alternative="less").pvalue)

"""SMAC3's facade for hyperparameters: a random forest and expected improvement."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.search_quality.peer import Builder, Setting, without_inactive
from benchmarks.search_quality.task import needed

from tunefleet.study.parameters import Choice, Fixed, IntRange, Parameter, RealRange
from tunefleet.study.space import Space
from tunefleet_master.simulation.tuner import Assignment, Tuner

UNBOUNDED = 10_000


class SmacStudy(Tuner):
    """SMAC by `ask` and `tell`, configured for a deterministic objective."""

    def __init__(self, space: Space, setting: Setting) -> None:
        smac = needed("smac")
        self._value = needed("smac.runhistory.dataclasses").TrialValue
        self._space = space
        self._folder = tempfile.TemporaryDirectory()
        scenario = smac.Scenario(
            needed("ConfigSpace").ConfigurationSpace(
                space={name: _hyperparameter(name, each) for name, each in space.parameters.items()},
                seed=setting.seed,
            ),
            deterministic=True,
            n_trials=setting.n_trials or UNBOUNDED,
            seed=setting.seed,
            output_directory=Path(self._folder.name),
        )
        facade = smac.HyperparameterOptimizationFacade
        self._smac = facade(scenario, _never, overwrite=True, logging_level=False)
        self._asked: list[Any] = []

    def assign(self, *, may_begin: bool) -> Assignment | None:
        """Return SMAC's proposal."""
        if not may_begin:
            return None
        asked = self._smac.ask()
        self._asked.append(asked)
        return Assignment(len(self._asked) - 1, without_inactive(self._space, dict(asked.config)))

    def end(self, trial: int, step: int, *, value: float) -> None:
        """Report a result to SMAC."""
        self._smac.tell(self._asked[trial], self._value(cost=value), save=False)


def _never(config: Any, seed: int = 0) -> float:
    """The function that SMAC would call if it ran the trials itself."""
    raise NotImplementedError


def _hyperparameter(name: str, parameter: Parameter) -> Any:
    spaces = needed("ConfigSpace")
    match parameter:
        case RealRange():
            return spaces.Float(name, parameter.bounds, log=parameter.is_log)
        case IntRange():
            return spaces.Integer(name, parameter.bounds, log=parameter.log)
        case Choice():
            return spaces.Categorical(name, list(parameter.choice))
        case Fixed():
            return spaces.Constant(name, parameter.fixed)


CONTESTANTS: Mapping[str, Builder] = {"smac": SmacStudy}

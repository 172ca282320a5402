"""Optuna's samplers and pruners behind a simulated fleet: `ask`, `report` and `tell`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.search_quality.peer import Builder, Setting
from benchmarks.search_quality.task import needed

from tunefleet.study.parameters import Choice, Fixed, IntRange, Parameter, RealRange
from tunefleet.study.space import Space
from tunefleet_master.simulation.tuner import Assignment, Directive, Tuner

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial


class OptunaStudy(Tuner):
    """A minimised study in memory."""

    def __init__(self, space: Space, sampler: BaseSampler, *, pruner: BasePruner | None = None) -> None:
        optuna = needed("optuna")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="optuna")
        self._pruned = optuna.trial.TrialState.PRUNED
        self._study = optuna.create_study(sampler=sampler, pruner=pruner or optuna.pruners.NopPruner())
        self._space = space
        self._trials: list[Trial] = []

    def assign(self, *, may_begin: bool) -> Assignment | None:
        """Return the trial of `ask`, with each parameter suggested in the order of the space."""
        if not may_begin:
            return None
        trial = self._study.ask()
        self._trials.append(trial)
        return Assignment(trial.number, self._space.from_unit(_Suggested(trial, self._space)))

    def report(self, trial: int, step: int, *, value: float) -> Directive:
        """Return True if Optuna's pruner stops the trial; Optuna never pauses one."""
        self._trials[trial].report(value, step)
        if not self._trials[trial].should_prune():
            return Directive.CONTINUE
        self._study.tell(self._trials[trial], state=self._pruned)
        return Directive.STOP

    def end(self, trial: int, step: int, *, value: float) -> None:
        """`tell`."""
        self._trials[trial].report(value, step)
        self._study.tell(self._trials[trial], value)


class _Suggested(Mapping[str, float]):
    """The point of a trial: Optuna is asked for those coordinates only that the space reads, the active ones."""

    def __init__(self, trial: Trial, space: Space) -> None:
        self._trial = trial
        self._space = space

    def __getitem__(self, name: str) -> float:
        parameter = self._space.parameters[name]
        return parameter.to_unit(self._suggest(name, parameter))

    def __iter__(self) -> Iterator[str]:
        return iter(self._space.names)

    def __len__(self) -> int:
        return len(self._space.names)

    def _suggest(self, name: str, parameter: Parameter) -> str | float | bool | None:
        suggested: str | float | bool | None
        match parameter:
            case RealRange():
                suggested = self._trial.suggest_float(name, *parameter.bounds, log=parameter.is_log)
            case IntRange():
                suggested = self._trial.suggest_int(name, *parameter.bounds, log=parameter.log)
            case Choice():
                suggested = self._trial.suggest_categorical(name, list(parameter.choice))
            case Fixed():
                suggested = parameter.fixed  # type: ignore[assignment]
        return suggested


def _study(sampler: str, pruner: str | None, options: dict[str, Any]) -> Builder:
    def build(space: Space, setting: Setting) -> Tuner:
        optuna = needed("optuna")
        made = getattr(optuna.samplers, sampler)(seed=setting.seed, **options)
        return OptunaStudy(space, made, pruner=PRUNERS[pruner](optuna.pruners, setting) if pruner else None)

    return build


# Rungs as ours: from the first step on, one in three goes on.
PRUNERS: Mapping[str, Callable[[Any, Setting], BasePruner]] = {
    "halving": lambda pruners, _: pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    "hyperband": lambda pruners, setting: pruners.HyperbandPruner(
        min_resource=1, max_resource=setting.n_steps, reduction_factor=3
    ),
}

CONTESTANTS: Mapping[str, Builder] = {
    # As Optuna 5 has it by default: multivariate, with a constant liar.
    "optuna-tpe": _study("TPESampler", None, {}),
    "optuna-gp": _study("GPSampler", None, {}),
    # Choices are drawn at random.
    "optuna-cmaes": _study("CmaEsSampler", None, {"warn_independent_sampling": False}),
    "optuna-random+halving": _study("RandomSampler", "halving", {}),
    "optuna-tpe+halving": _study("TPESampler", "halving", {}),
    "optuna-tpe+hyperband": _study("TPESampler", "hyperband", {}),
}

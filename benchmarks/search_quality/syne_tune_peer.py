"""Syne Tune's schedulers, driven without its own back end."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from benchmarks.search_quality.peer import Builder, Setting, without_inactive
from benchmarks.search_quality.task import needed

from tunefleet.study.parameters import Choice, Fixed, IntRange, Parameter, RealRange
from tunefleet.study.space import Space
from tunefleet_master.simulation.tuner import Assignment, Directive, Tuner

METRIC, STEP = "loss", "step"


class SyneTuneStudy(Tuner):
    """A scheduler that minimises, and that may stop trials; Syne Tune's ASHA stops and does not pause."""

    def __init__(self, space: Space, scheduler: Any) -> None:
        self._space = space
        self._scheduler = scheduler
        self._trials: list[Any] = []

    def assign(self, *, may_begin: bool) -> Assignment | None:
        """Return a suggestion."""
        suggestion = self._scheduler.suggest() if may_begin else None
        if suggestion is None:
            return None
        number = len(self._trials)
        made = needed("syne_tune.backend.trial_status").Trial(
            trial_id=number, config=suggestion.config, creation_time=datetime.datetime.now(datetime.UTC)
        )
        self._scheduler.on_trial_add(made)
        self._trials.append(made)
        return Assignment(number, without_inactive(self._space, suggestion.config))

    def report(self, trial: int, step: int, *, value: float) -> Directive:
        """Return the scheduler's decision."""
        decision = self._scheduler.on_trial_result(self._trials[trial], {METRIC: value, STEP: step})
        stops = decision == needed("syne_tune.optimizer.scheduler").SchedulerDecision.STOP
        return Directive.STOP if stops else Directive.CONTINUE

    def end(self, trial: int, step: int, *, value: float) -> None:
        """The trial is complete."""
        self._scheduler.on_trial_complete(self._trials[trial], {METRIC: value, STEP: step})


def _domain(parameter: Parameter) -> Any:
    spaces = needed("syne_tune.config_space")
    match parameter:
        case RealRange():
            return (spaces.loguniform if parameter.is_log else spaces.uniform)(*parameter.bounds)
        case IntRange():
            return (spaces.lograndint if parameter.log else spaces.randint)(*parameter.bounds)
        case Choice():
            return spaces.choice(list(parameter.choice))
        case Fixed():
            return parameter.fixed


def _study(name: str, options: Callable[[Setting], dict[str, Any]]) -> Builder:
    def build(space: Space, setting: Setting) -> Tuner:
        baselines = needed("syne_tune.optimizer.baselines")
        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        np.random.seed(setting.seed)  # noqa: NPY002 - its schedulers draw brackets from the global generator
        scheduler = getattr(baselines, name)(
            config_space={parameter: _domain(each) for parameter, each in space.parameters.items()},
            metric=METRIC,
            random_seed=setting.seed,
            **options(setting),
        )
        return SyneTuneStudy(space, scheduler)

    return build


def _rungs(setting: Setting) -> dict[str, Any]:
    return {"time_attr": STEP, "max_t": setting.n_steps, "grace_period": 1, "reduction_factor": 3}


CONTESTANTS: Mapping[str, Builder] = {
    "syne-tpe": _study("TPE", lambda _: {}),
    "syne-asha": _study("ASHA", _rungs),
    "syne-bohb": _study("BOHB", _rungs),
}

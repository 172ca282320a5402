"""Hyperopt's TPE (Bergstra et al. 2011), driven without its own loop."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from benchmarks.search_quality.peer import Builder, Setting, without_inactive
from benchmarks.search_quality.task import needed

from tunefleet.study.parameters import Choice, Fixed, IntRange, Parameter, RealRange
from tunefleet.study.space import Space
from tunefleet_master.simulation.tuner import Assignment, Tuner


class HyperoptStudy(Tuner):
    """A minimised study in memory; Hyperopt knows which trials run."""

    def __init__(self, space: Space, setting: Setting) -> None:
        self._hyperopt = needed("hyperopt")
        logging.getLogger("hyperopt").setLevel(logging.ERROR)
        self._space = space
        self._named = {name: _expression(self._hyperopt, name, each) for name, each in space.parameters.items()}
        self._domain = self._hyperopt.Domain(lambda values: 0.0, self._named)
        self._trials = self._hyperopt.Trials()
        self._documents: list[dict[str, Any]] = []
        self._seeds = np.random.default_rng(setting.seed)

    def assign(self, *, may_begin: bool) -> Assignment | None:
        """Return a suggestion."""
        if not may_begin:
            return None
        seed = int(self._seeds.integers(2**31))
        ids = self._trials.new_trial_ids(1)
        (document,) = self._hyperopt.tpe.suggest(ids, self._domain, self._trials, seed, verbose=False)
        self._trials.insert_trial_docs([document])
        self._trials.refresh()
        # The list holds a copy.
        self._documents.append(self._trials._dynamic_trials[-1])
        drawn = {name: value[0] for name, value in document["misc"]["vals"].items()}
        values = self._hyperopt.space_eval(self._named, drawn)
        return Assignment(len(self._documents) - 1, without_inactive(self._space, values))

    def end(self, trial: int, step: int, *, value: float) -> None:
        """Store a result like Hyperopt's own loop."""
        document = self._documents[trial]
        document["state"] = self._hyperopt.JOB_STATE_DONE
        document["result"] = {"loss": value, "status": self._hyperopt.STATUS_OK}
        self._trials.refresh()


def _expression(hyperopt: Any, name: str, parameter: Parameter) -> Any:
    hp, scope = hyperopt.hp, hyperopt.pyll.scope
    match parameter:
        case RealRange():
            low, high = parameter.bounds
            return (
                hp.loguniform(name, math.log(low), math.log(high)) if parameter.is_log else hp.uniform(name, low, high)
            )
        case IntRange():
            low, high = parameter.bounds
            if parameter.log:
                return scope.int(hp.qloguniform(name, math.log(low), math.log(high), 1))
            return hp.uniformint(name, low, high)
        case Choice():
            return hp.choice(name, list(parameter.choice))
        case Fixed():
            return parameter.fixed


CONTESTANTS: Mapping[str, Builder] = {"hyperopt-tpe": HyperoptStudy}

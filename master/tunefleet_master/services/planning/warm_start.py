"""Warm starts: results of earlier studies for a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import JsonValue

from tunefleet.errors import InvalidInput, Problem
from tunefleet.study.space import Configuration, Space
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.history import Prior
from tunefleet_master.services.planning import histories
from tunefleet_master.storage import folds, studies, trials
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

N_BEST = 100  # complete trials of an earlier study
N_OTHERS = 100  # further complete trials, spread evenly over the ranks: models need bad results, too
N_INFEASIBLE = 50
MAX_TRIED_SHARE = 0.1  # of the budget, for the best configuration of each earlier study


def priors(uow: UnitOfWork, spec: StudySpec) -> dict[str, Prior]:
    """Return the results of each study that the spec starts from, by its name.

    Raises:
        InvalidInput: one does not exist, has another purpose, or has no complete trial in the spec's space.
    """
    found: dict[str, Prior] = {}
    for name in dict.fromkeys(spec.warm_start):
        other = studies.find(uow.connection, name)
        if other is None:
            raise InvalidInput([Problem("warm_start", f"there is no study {name!r}; `tunefleet ls` lists them")])
        _check_same_purpose(spec, other)
        found[name] = _prior(uow, spec, other)
    return found


def begin(uow: UnitOfWork, study: Study, found: Mapping[str, Prior]) -> list[Configuration]:
    """Record priors in the events of a new study; return the best configuration of each, to be tried first."""
    for name, prior in found.items():
        configurations: list[JsonValue] = [dict(each) for each in prior.configurations]
        data = {"study": name, "configurations": configurations, "n_infeasible": prior.n_infeasible}
        uow.record(study.id, histories.PRIOR, trial=None, data=data)
    limit = len(found) if study.trials_left is None else max(1, int(MAX_TRIED_SHARE * study.trials_left))
    return [prior.configurations[0] for prior in found.values()][:limit]


def _check_same_purpose(spec: StudySpec, other: Study) -> None:
    ours, theirs = spec.objective, other.spec.objective
    if (ours.metric, ours.goal) != (theirs.metric, theirs.goal):
        rule = f"study {other.name!r} would {theirs.goal} {theirs.metric}, and this one would {ours.goal} {ours.metric}"
        raise InvalidInput([Problem("warm_start", f"{rule}: its results do not apply here")])
    if not spec.space.keys() & other.spec.space.keys():
        rule = f"study {other.name!r} shares no parameter with this one; it has {', '.join(other.spec.space)}"
        raise InvalidInput([Problem("warm_start", rule)])


def _prior(uow: UnitOfWork, spec: StudySpec, other: Study) -> Prior:
    space = spec.search_space
    complete = folds.complete_params if other.folds > 1 else trials.complete_params
    ranked = _distinct(space, complete(uow.connection, other))
    if not ranked:
        rule = f"no complete trial of study {other.name!r} lies in the space; leave it out, or widen the space"
        raise InvalidInput([Problem("warm_start", rule)])
    kept = [ranked[i] for i in _best_and_some(len(ranked))]
    untrained = trials.failed_params(uow.connection, other.id, histories.INFEASIBLE, limit=N_INFEASIBLE)
    infeasible = _distinct(space, untrained)
    return Prior([*kept, *infeasible], n_infeasible=len(infeasible))


def _best_and_some(n: int) -> list[int]:
    if n <= N_BEST + N_OTHERS:
        return list(range(n))
    return [*range(N_BEST), *np.linspace(N_BEST, n - 1, N_OTHERS).astype(int).tolist()]


def _distinct(space: Space, found: Sequence[Configuration]) -> list[Configuration]:
    """Return these configurations in the space, each once, without those that lie outside."""
    placed = (_placed(space, params) for params in found)
    return list({str(each): each for each in placed if each is not None}.values())


def _placed(space: Space, params: Configuration) -> Configuration | None:
    """Return a configuration in this space, new parameters at their middle; None where it lies outside."""
    known = {name: value for name, value in params.items() if name in space.parameters}
    if not all(space.parameters[name].contains(value) for name, value in known.items()):
        return None
    configuration = space.around(known)
    return configuration if space.allows(configuration) else None

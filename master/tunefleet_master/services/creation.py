"""New trials, each taken from its study's budget."""

from __future__ import annotations

from tunefleet.names import TrialId
from tunefleet.protocol import TrialState
from tunefleet.space import Configuration, configuration_hash
from tunefleet_master.search.seeds import trial_seed
from tunefleet_master.services.transitions import announce
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import NewTrial, Study, Trial


def number_with(uow: UnitOfWork, study: Study, params: Configuration) -> int | None:
    """The number of the study's trial that has this configuration, None when there is none."""
    return trials.number_with(uow.connection, study.id, configuration_hash(params))


def create(uow: UnitOfWork, study: Study, params: Configuration, *, position: int | None) -> Trial | None:
    """Take a trial from the budget and let it wait; None when the budget has none left.

    A trial that somebody asked for takes the place of a waiting proposal when the budget is planned to its end.

    Args:
        uow: the request's.
        study: which has no trial with these parameters yet.
        params: a configuration of its space.
        position: where the sampler proposed it; None for one that somebody asked for.
    """
    trial_id = _take(uow, study, params, position)
    if trial_id is None and position is None:
        config_hash = configuration_hash(params)
        trial_id = trials.displace(uow.connection, study.id, params, config_hash=config_hash, now=uow.now)
    if trial_id is None:
        return None
    trial = trials.get(uow.connection, trial_id)
    announce(uow, study, trial, state=TrialState.WAITING)
    return trial


def _take(uow: UnitOfWork, study: Study, params: Configuration, position: int | None) -> TrialId | None:
    number = studies.take_number(uow.connection, study.id)
    if number is None:
        return None
    new = NewTrial(
        number=number,
        params=params,
        config_hash=configuration_hash(params),
        seed=trial_seed(study.spec.search.seed, number),
        origin=trials.BY_HAND if position is None else study.sampler,
        position=position,
    )
    return trials.add(uow.connection, study.id, new, now=uow.now)

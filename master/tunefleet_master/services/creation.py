"""New trials, each taken from its study's budget."""

from __future__ import annotations

from tunefleet.protocol import TrialState
from tunefleet.space import Configuration, configuration_hash
from tunefleet_master.search.seeds import trial_seed
from tunefleet_master.services.transitions import announce
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import NewTrial, Study, Trial

BY_HAND = "user"
"""The origin of a trial that somebody asked for."""


def number_with(uow: UnitOfWork, study: Study, params: Configuration) -> int | None:
    """The number of the study's trial that has this configuration, None when there is none."""
    return trials.number_with(uow.connection, study.id, configuration_hash(params))


def create(uow: UnitOfWork, study: Study, params: Configuration, *, position: int | None) -> Trial | None:
    """Take a trial from the budget and let it wait; None when the budget has none left.

    Args:
        uow: the request's.
        study: which has no trial with these parameters yet.
        params: a configuration of its space.
        position: where the sampler proposed it; None for one that somebody asked for.
    """
    number = studies.take_number(uow.connection, study.id)
    if number is None:
        return None
    new = NewTrial(
        number=number,
        params=params,
        config_hash=configuration_hash(params),
        seed=trial_seed(study.spec.search.seed, number),
        origin=BY_HAND if position is None else study.sampler,
        position=position,
    )
    trial = trials.get(uow.connection, trials.add(uow.connection, study.id, new, now=uow.now))
    announce(uow, study, trial, state=TrialState.WAITING)
    return trial

"""New trials, each taken from its study's budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tunefleet.space import Configuration, configuration_hash
from tunefleet_master.search.seeds import trial_seed
from tunefleet_master.services.transitions import announce_new
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import NewTrial, Study, Trial


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration that a sampler gave at a position, and what another one needs to give it again.

    Attributes:
        position: the sampler's.
        params: the configuration.
        sampler: its name.
        sampler_version: of the sampler's code.
        batch: the position of the first of those that were proposed together.
        saw: the study's last event that it knew of; None: it does not learn.
    """

    position: int
    params: Configuration
    sampler: str
    sampler_version: int
    batch: int
    saw: int | None = None


def number_with(uow: UnitOfWork, study: Study, params: Configuration) -> int | None:
    """The number of the study's trial that has this configuration, None when there is none."""
    config_hash = configuration_hash(params)
    return trials.numbers_with(uow.connection, study.id, [config_hash]).get(config_hash)


def create_proposed(uow: UnitOfWork, study: Study, proposals: Sequence[Proposal]) -> int:
    """Take trials from the budget for these proposals, as far as it goes and none twice; returns how many.

    Args:
        uow: the request's.
        study: as this transaction has locked it.
        proposals: in the order in which they were made.
    """
    first = {configuration_hash(proposal.params): proposal for proposal in reversed(proposals)}
    known = trials.numbers_with(uow.connection, study.id, first)
    fresh = sorted((it for key, it in first.items() if key not in known), key=lambda proposal: proposal.position)
    # Somebody may have added configurations by hand since the proposals were made, and filled the stage.
    n = len(fresh) if study.stage_left is None else min(len(fresh), study.stage_left)
    n = studies.take_numbers(uow.connection, study, n)
    if n == 0:
        return 0
    new = [
        replace(
            _new(study, study.n_created + i, proposal.params),
            origin=proposal.sampler,
            position=proposal.position,
            batch=proposal.batch,
            saw=proposal.saw,
            sampler_version=proposal.sampler_version,
        )
        for i, proposal in enumerate(fresh[:n])
    ]
    trials.add(uow.connection, study.id, new, now=uow.now)
    announce_new(uow, study, {trial.number: trial.params for trial in new})
    return n


def create_first(uow: UnitOfWork, study: Study, configurations: Sequence[Configuration]) -> None:
    """Let configurations of earlier studies wait, which a new study tries before its sampler's own; each once."""
    first = list({configuration_hash(params): params for params in configurations}.values())
    n = studies.take_numbers(uow.connection, study, len(first))
    new = [replace(_new(study, i, params), origin=trials.WARM_START) for i, params in enumerate(first[:n])]
    if new:
        trials.add(uow.connection, study.id, new, now=uow.now)
        announce_new(uow, study, {trial.number: trial.params for trial in new})


def create_by_hand(uow: UnitOfWork, study: Study, params: Configuration) -> Trial | None:
    """Let a configuration wait that somebody asked for; None when the budget has no trial left.

    It takes the place of a waiting proposal when the budget is planned to its end.

    Args:
        uow: the request's.
        study: as this transaction has locked it, without a trial of these parameters.
        params: a configuration of its space.
    """
    if studies.take_numbers(uow.connection, study, 1):
        new = _new(study, study.n_created, params)
        trials.add(uow.connection, study.id, [new], now=uow.now)
        trial = trials.by_number(uow.connection, study, new.number)
    else:
        config_hash = configuration_hash(params)
        trial_id = trials.displace(uow.connection, study.id, params, config_hash=config_hash, now=uow.now)
        if trial_id is None:
            return None
        trial = trials.get(uow.connection, trial_id)
    announce_new(uow, study, {trial.number: params})
    return trial


def _new(study: Study, number: int, params: Configuration) -> NewTrial:
    return NewTrial(
        number=number,
        params=params,
        config_hash=configuration_hash(params),
        seed=trial_seed(study.spec.search.seed, number),
        origin=trials.BY_HAND,
        position=None,
        version=study.version,
    )

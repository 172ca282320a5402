"""Creation of trials within the budget of their study."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from tunefleet.study.folds import fold_of, numbers_of
from tunefleet.study.space import Configuration, configuration_hash
from tunefleet_master.search.seeds import trial_seed
from tunefleet_master.search.segment import Segment
from tunefleet_master.services.execution.transitions import announce_new
from tunefleet_master.storage import folds, segments, studies, trials
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import NewTrial, Study, Trial


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration that a sampler proposed at a position, with the data to reproduce it.

    Attributes:
        position: in the sampler's sequence.
        params: the configuration.
        sampler: the sampler's name.
        sampler_version: of the sampler's code.
        batch: the position of the first proposal of the same call.
        saw: the last event of the study that the sampler had; None: it does not learn.
        segment: the place in a population, where the sampler trains one.
    """

    position: int
    params: Configuration
    sampler: str
    sampler_version: int
    batch: int
    saw: int | None = None
    segment: Segment | None = None

    @property
    def identity(self) -> str:
        """A key that is unique within the study."""
        return identity(self.params, self.position if self.segment else None)


def identity(params: Configuration, position: int | None) -> str:
    """Return the hash of a configuration; for segments also of the position, since many run one configuration."""
    config_hash = configuration_hash(params)
    return config_hash if position is None else hashlib.sha256(f"{config_hash}:{position}".encode()).hexdigest()


def fold_identity(config_hash: str, fold: int | None) -> str:
    """Return a key of a fold that is unique within the study; for the first fold, the hash of the configuration."""
    return hashlib.sha256(f"{config_hash}:fold {fold}".encode()).hexdigest() if fold else config_hash


def number_with(uow: UnitOfWork, study: Study, params: Configuration) -> int | None:
    """Return the number of the trial with this configuration, with folds the first one; None when there is none."""
    config_hash = configuration_hash(params)
    return trials.numbers_with(uow.connection, study.id, [config_hash]).get(config_hash)


def create_proposed(uow: UnitOfWork, study: Study, proposals: Sequence[Proposal]) -> tuple[int, int | None]:
    """Create trials for these proposals within the budget and the stage, none twice.

    Returns how many were created, and the position of the first proposal that got no trial, None when all did. The
    sampler continues there when the budget is raised.

    Args:
        uow: the request's.
        study: as this transaction has locked it.
        proposals: in the sampler's order.
    """
    first = {proposal.identity: proposal for proposal in reversed(_startable(uow, study, proposals))}
    known = trials.numbers_with(uow.connection, study.id, first)
    fresh = sorted((it for key, it in first.items() if key not in known), key=lambda proposal: proposal.position)
    # Configurations that were added by hand since the proposals were made may have filled the stage.
    n = len(fresh) if study.stage_left is None else min(len(fresh), study.stage_left)
    n = studies.take_numbers(uow.connection, study, n)
    left_at = fresh[n].position if n < len(fresh) else None
    if n == 0:
        return 0, left_at
    new = [
        replace(
            trial,
            origin=proposal.sampler,
            position=proposal.position,
            batch=proposal.batch,
            saw=proposal.saw,
            sampler_version=proposal.sampler_version,
            **(asdict(proposal.segment) if proposal.segment else {}),
        )
        for i, proposal in enumerate(fresh[:n])
        for trial in _new(study, study.n_configurations + i, proposal.params, config_hash=proposal.identity)
    ]
    trials.add(uow.connection, study.id, new, now=uow.now)
    places = {study.n_created + i: it.segment for i, it in enumerate(fresh[:n]) if it.segment}
    announce_new(uow, study, {trial.number: trial.params for trial in new}, segments=places)
    return n, left_at


def create_first(uow: UnitOfWork, study: Study, configurations: Sequence[tuple[Configuration, str]]) -> None:
    """Create the trials that a new study tries before those of its sampler, each once, with their origins."""
    first: dict[str, tuple[Configuration, str]] = {}
    for params, origin in configurations:
        first.setdefault(configuration_hash(params), (params, origin))
    n = studies.take_numbers(uow.connection, study, len(first))
    chosen = enumerate(list(first.values())[:n])
    new = [replace(it, origin=origin) for i, (params, origin) in chosen for it in _new(study, i, params)]
    if new:
        trials.add(uow.connection, study.id, new, now=uow.now)
        announce_new(uow, study, {trial.number: trial.params for trial in new})


def _startable(uow: UnitOfWork, study: Study, proposals: Sequence[Proposal]) -> Sequence[Proposal]:
    """Return the proposals without the segments that cannot start.

    A member is busy when one of its failed trials was retried after the sampler saw the failure. A segment also needs
    the checkpoint of its parent.
    """
    if not any(proposal.segment for proposal in proposals):
        return proposals
    busy = segments.busy_members(uow.connection, study.id)
    parents = {it.segment.parent for it in proposals if it.segment and it.segment.parent is not None}
    stored = {None, *segments.with_checkpoint(uow.connection, study.id, parents)}
    return [it for it in proposals if it.segment and it.segment.member not in busy and it.segment.parent in stored]


def create_by_hand(uow: UnitOfWork, study: Study, params: Configuration) -> Trial | None:
    """Create the trial of a configuration that a user asked for; None when the budget has no trial left.

    It replaces a waiting proposal when the budget has no unplanned trial left.

    Args:
        uow: the request's.
        study: as this transaction has locked it, without a trial of this configuration.
        params: a configuration of its space.
    """
    if studies.take_numbers(uow.connection, study, 1):
        new = _new(study, study.n_configurations, params)
        trials.add(uow.connection, study.id, new, now=uow.now)
        announce_new(uow, study, {trial.number: params for trial in new})
        return trials.by_number(uow.connection, study, new[0].number)
    replaced = folds.last_untouched(uow.connection, study)
    for trial in replaced:
        config_hash = fold_identity(configuration_hash(params), fold_of(study.spec, trial.number))
        trials.replace_by_user(uow.connection, trial, params, config_hash=config_hash, now=uow.now)
    announce_new(uow, study, {trial.number: params for trial in replaced})
    return trials.get(uow.connection, replaced[0].id) if replaced else None


def _new(study: Study, configuration: int, params: Configuration, *, config_hash: str | None = None) -> list[NewTrial]:
    """Return the trials of a configuration: one, or one per fold."""
    config_hash = config_hash or configuration_hash(params)
    return [
        NewTrial(
            number=number,
            params=params,
            config_hash=fold_identity(config_hash, fold_of(study.spec, number)),
            seed=trial_seed(study.spec.search.seed, number),
            origin=trials.USER_ORIGIN,
            position=None,
            version=study.version,
        )
        for number in numbers_of(study.spec, configuration)
    ]

"""Proposals on the newest results of a study, made in the samplers' process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tunefleet_master.search import registry
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.sampler import Suggestion
from tunefleet_master.services.planning import histories
from tunefleet_master.services.planning.history_sync import catch_up
from tunefleet_master.services.planning.sampler_process import (
    TIME_LIMIT_S,
    Ask,
    SamplerFailed,
    SamplerProcess,
)
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.values import Study

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Need:
    """How many trials a study lacks; `learns`: on the newest results."""

    study: Study
    n: int
    learns: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive proposals for a study, from `position` on.

    Attributes:
        position: of the first.
        version: of the study's space that they lie in.
        proposals: None where there is no configuration.
        exhausted: whether there are no more.
        sampler: who proposed.
        sampler_version: of its code.
        saw: the study's last event that it knew of; None: it does not learn.
        failure: why the study's own sampler did not propose; None: it did.
    """

    position: int
    version: int
    proposals: Sequence[Suggestion | None]
    exhausted: bool
    sampler: str
    sampler_version: int
    saw: int | None = None
    failure: SamplerFailed | None = None


class NewestResults:
    """Asks samplers that learn, after telling them what has happened since they were asked before.

    Args:
        database: the master's.
        time_limit_s: after which a sampler's process is ended, and random configurations stand in.
    """

    def __init__(self, database: Database, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._database = database
        self._proposer = SamplerProcess(time_limit_s=time_limit_s)

    def propose(self, need: Need) -> Batch:
        """What the study's sampler proposes now; random configurations, and why, when it fails.

        A population waits until its sampler is asked again.
        """
        study = need.study
        kind = registry.sampler_class(study.sampler)
        try:
            saw = catch_up(self._proposer, study, database=self._database)
            suggested = self._proposer.ask(Ask(study.id, study.position, need.n))
        except SamplerFailed as failure:
            log.warning("study %s: %s\n%s", study.name, failure.message, failure.hint or "")
            stand_in = RandomSampler.of(study.searched)
            found: Sequence[Suggestion | None] = ()
            if not kind.trains_population:  # of which a random configuration is no member
                found = stand_in.suggest(study.position, need.n, history=histories.empty(study.spec)).found
            return Batch(study.position, study.version, found, False, stand_in.name, stand_in.version, failure=failure)
        found, is_last = suggested.found, suggested.is_last
        return Batch(study.position, study.version, found, is_last, kind.name, kind.version, saw)

    def close(self) -> None:
        """End the samplers' process."""
        self._proposer.close()

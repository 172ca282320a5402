"""Proposals of learning samplers on the newest results of a study."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tunefleet_master.search import registry
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.sampler import Suggestion
from tunefleet_master.services.planning import histories
from tunefleet_master.services.planning.history_sync import catch_up
from tunefleet_master.services.planning.sampler_process import ProposalRequest, SamplerFailed, SamplerProcess
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.values import Study

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Need:
    """The number of configurations that a study lacks; `learns`: its sampler proposes on the newest results."""

    study: Study
    n: int
    learns: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive proposals for a study, from `position` on.

    Attributes:
        position: of the first proposal.
        version: of the study's space that they lie in.
        proposals: None where a position gives no configuration.
        exhausted: no more proposals exist.
        sampler: the name of the sampler that proposed.
        sampler_version: of its code.
        saw: the last event of the study that the sampler had; None: it does not learn.
        failure: why another sampler proposed instead of the study's own; None: its own did.
    """

    position: int
    version: int
    proposals: Sequence[Suggestion | None]
    exhausted: bool
    sampler: str
    sampler_version: int
    saw: int | None = None
    failure: SamplerFailed | None = None


class LearningProposer:
    """Asks the samplers that learn, after it has sent them the newest results.

    Args:
        database: the master's.
        process: the samplers'; closed with the proposer.
    """

    def __init__(self, database: Database, process: SamplerProcess) -> None:
        self._database = database
        self._process = process

    def propose(self, need: Need) -> Batch:
        """Return the proposals of the study's sampler; random configurations and the failure when it fails.

        A population gets none after a failure, and waits for the next call.
        """
        study = need.study
        kind = registry.sampler_class(study.sampler)
        try:
            saw = catch_up(self._process, study, database=self._database)
            suggested = self._process.ask(ProposalRequest(study.id, study.position, need.n))
        except SamplerFailed as failure:
            log.warning("study %s: %s\n%s", study.name, failure.message, failure.hint or "")
            fallback = RandomSampler.of(study.searched)
            found: Sequence[Suggestion | None] = ()
            if not kind.trains_population:  # a random configuration belongs to no member
                found = fallback.suggest(study.position, need.n, history=histories.empty(study.spec)).found
            return Batch(study.position, study.version, found, False, fallback.name, fallback.version, failure=failure)
        found, is_last = suggested.found, suggested.is_last
        return Batch(study.position, study.version, found, is_last, kind.name, kind.version, saw)

    def close(self) -> None:
        """End the process."""
        self._process.close()

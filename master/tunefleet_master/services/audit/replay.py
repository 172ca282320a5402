"""Replay: every proposal of a study is made again from its seed, position and events, and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection

from tunefleet.study.folds import fold_of
from tunefleet.study.spec import StudySpec
from tunefleet_master.search import registry
from tunefleet_master.search.history import History
from tunefleet_master.search.sampler import Sampler, Suggestion
from tunefleet_master.search.segment import Segment
from tunefleet_master.services.planning import histories
from tunefleet_master.storage import audit
from tunefleet_master.storage.audit import Proposal
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

Progress = Callable[[int, int], None]
"""Called with the number of replayed proposals and their total."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The outcome of a replay.

    Attributes:
        n_same: proposals that are equal again.
        n_by_hand: trials that no sampler proposed.
        differing: a sentence for each proposal that differs.
        skipped: a sentence for each sampler, or version of one, that is not installed.
    """

    n_same: int
    n_by_hand: int
    differing: Sequence[str]
    skipped: Sequence[str]


def replay(uow: UnitOfWork, study: Study, *, progress: Progress = lambda done, total: None) -> Replay:
    """Make every proposal of a study again with the seed, the position and the events that its sampler had.

    The number and the timing of workers do not matter: each proposal is stored with the last event that it saw.
    """
    proposals = [it for it in audit.proposals(uow.connection, study.id) if not fold_of(study.spec, it.trial)]
    asked = [proposal for proposal in proposals if proposal.position is not None]
    samplers = _PastSamplers(uow.connection, study)
    n_same = 0
    differing: list[str] = []
    skipped: set[str] = set()
    for key, group in groupby(sorted(asked, key=_order), key=_key):
        batch = list(group)
        reason = samplers.why_skipped(batch[0])
        if reason is not None:
            skipped.add(reason)
            continue
        for proposal, again in zip(batch, samplers.propose_again(batch, saw=key[0]), strict=True):
            if again == _suggestion(proposal):
                n_same += 1
            else:
                differing.append(f"trial {proposal.trial}: {proposal.origin} would now propose {_text_of(again)}")
        progress(n_same + len(differing), len(asked))
    return Replay(n_same, len(proposals) - len(asked), differing, sorted(skipped))


class _PastSamplers:
    """The samplers of a study and its history at a past event, which only moves forward."""

    def __init__(self, connection: Connection, study: Study) -> None:
        self._connection = connection
        self._study = study
        self._specs = histories.versions(connection, study)
        self._samplers: dict[tuple[str, int], Sampler] = {}
        self._history = histories.empty(self._specs[0])
        self._seen = 0

    def why_skipped(self, proposal: Proposal) -> str | None:
        """Return why a proposal cannot be made again; None when it can."""
        if proposal.origin not in registry.names():
            return f"the sampler {proposal.origin} is not installed here"
        kind = registry.sampler_class(proposal.origin)
        if proposal.sampler_version not in (None, kind.version):
            return f"{proposal.origin} was version {proposal.sampler_version} then, and is version {kind.version} here"
        return None

    def propose_again(self, batch: Sequence[Proposal], *, saw: int) -> Sequence[Suggestion | None]:
        """Return the sampler's proposals at the positions of these, which were made in one call."""
        first, last = batch[0].batch, batch[-1].position
        assert last is not None
        start = (batch[0].position or 0) if first is None else first
        sampler = self._sampler(batch[0].origin, batch[0].version)
        suggested = sampler.suggest(start, last - start + 1, history=self._history_at(saw)).found
        at = dict(enumerate(suggested, start=start))
        return [at.get(proposal.position or 0) for proposal in batch]

    def _history_at(self, saw: int) -> History:
        if saw > self._seen:
            found = histories.changes(self._connection, self._study.id, after=self._seen, up_to=saw)
            self._history.fold(change for _, change in found)
            self._seen = saw
        return self._history

    def _sampler(self, name: str, version: int) -> Sampler:
        if (name, version) not in self._samplers:
            self._samplers[name, version] = registry.build(name, self._spec(version))
        return self._samplers[name, version]

    def _spec(self, version: int) -> StudySpec:
        return self._specs[version - 1]


def _suggestion(proposal: Proposal) -> Suggestion:
    if proposal.member is None or proposal.until is None:
        return Suggestion(proposal.params)
    return Suggestion(proposal.params, Segment(proposal.member, proposal.parent, proposal.until))


def _text_of(again: Suggestion | None) -> str:
    if again is None or again.segment is None:
        return str(again and again.params)
    return f"{again.params}, from trial {again.segment.parent}, for member {again.segment.member}"


def _order(proposal: Proposal) -> tuple[int, int]:
    return proposal.saw or 0, proposal.position or 0


def _key(proposal: Proposal) -> tuple[int, int | None, int, str]:
    return proposal.saw or 0, proposal.batch, proposal.version, proposal.origin

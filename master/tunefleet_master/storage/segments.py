"""Queries on the segments of populations: trials that continue from each other's checkpoints."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, tuple_

from tunefleet.names import TrialId
from tunefleet.protocol import TrialState
from tunefleet.study.states import LIVE
from tunefleet_master.storage.tables import ArtifactRow, TrialRow
from tunefleet_master.storage.trials import selection
from tunefleet_master.storage.values import Trial, trial_of

CHECKPOINT = "checkpoint.safetensors"
"""The artifact from which a later attempt, or another trial, continues."""


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A trial of a population; `member` and `until` are set, `parent` is None for a member's first segment."""

    number: int
    member: int
    parent: int | None
    until: int
    state: TrialState


def of_study(connection: Connection, study_id: int) -> Iterator[StoredSegment]:
    """The segments of a study, ordered by number."""
    columns = (TrialRow.number, TrialRow.member, TrialRow.parent, TrialRow.until, TrialRow.state)
    query = select(*columns).where(TrialRow.study_id == study_id, TrialRow.member.is_not(None))
    for row in connection.execute(query.order_by(TrialRow.number)):
        yield StoredSegment(row.number, row.member, row.parent, row.until, TrialState(row.state))


def lineage(connection: Connection, trial: Trial) -> list[Trial]:
    """The chain of trials whose checkpoints the trial continued from, oldest first and itself last."""
    of_study = TrialRow.study_id == trial.study_id
    line = select(TrialRow.number, TrialRow.parent).where(of_study, TrialRow.number == trial.number)
    newest = line.cte("line", recursive=True)
    older = select(TrialRow.number, TrialRow.parent).where(of_study, TrialRow.number == newest.c.parent)
    numbers = select(newest.union_all(older).c.number)
    query = selection().where(of_study, TrialRow.number.in_(numbers)).order_by(TrialRow.number)
    return [trial_of(row, row.study) for row in connection.execute(query)]


def busy_members(connection: Connection, study_id: int) -> set[int]:
    """The members whose newest segment waits or runs."""
    query = select(TrialRow.member).where(
        TrialRow.study_id == study_id, TrialRow.member.is_not(None), TrialRow.state.in_(LIVE)
    )
    return {row.member for row in connection.execute(query)}


def with_checkpoint(connection: Connection, study_id: int, numbers: Collection[int]) -> dict[int, TrialId]:
    """Ids by number of the given trials that have a stored checkpoint."""
    query = select(TrialRow.number, TrialRow.id).join(ArtifactRow, ArtifactRow.trial_id == TrialRow.id)
    chosen = query.where(TrialRow.study_id == study_id, TrialRow.number.in_(numbers), ArtifactRow.name == CHECKPOINT)
    return {number: TrialId(trial_id) for number, trial_id in connection.execute(chosen)}


def ids(connection: Connection, trials: Collection[tuple[int, int]]) -> dict[tuple[int, int], TrialId]:
    """Ids of trials, each given by its study's id and its number."""
    query = select(TrialRow.study_id, TrialRow.number, TrialRow.id)
    found = connection.execute(query.where(tuple_(TrialRow.study_id, TrialRow.number).in_(trials)))
    return {(study_id, number): TrialId(trial_id) for study_id, number, trial_id in found}


def drop_checkpoints(connection: Connection, study_id: int, *, kept: Collection[int]) -> None:
    """Delete the checkpoint records of a study's finished segments, except those with a number in `kept`."""
    ended = select(TrialRow.id).where(
        TrialRow.study_id == study_id,
        TrialRow.member.is_not(None),
        TrialRow.state.not_in(LIVE),
        TrialRow.number.not_in(kept),
    )
    connection.execute(delete(ArtifactRow).where(ArtifactRow.trial_id.in_(ended), ArtifactRow.name == CHECKPOINT))

"""A study's events as what samplers learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import JsonValue, TypeAdapter
from sqlalchemy import Connection

from tunefleet.protocol import Event, Failure
from tunefleet.study import stages
from tunefleet.study.objective import Objective
from tunefleet.study.parameters import Parameter
from tunefleet.study.space import Space
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.history import Change, Edit, History, Outcome, Prior
from tunefleet_master.search.segment import Segment
from tunefleet_master.storage import events
from tunefleet_master.storage.values import Study

_AT_ONCE = 2_000  # events that are read at a time

_OUTCOMES = {
    "trial.waiting": Outcome.PENDING,
    "trial.running": Outcome.PENDING,
    "trial.paused": Outcome.PENDING,
    "trial.complete": Outcome.COMPLETE,
    "trial.pruned": Outcome.PRUNED,
    "trial.cancelled": Outcome.UNKNOWN,
}
INFEASIBLE = frozenset({Failure.DIVERGED, Failure.OUT_OF_MEMORY, Failure.INFEASIBLE})
"""Failures that the configuration is to blame for."""

_SPACE: TypeAdapter[dict[str, Parameter]] = TypeAdapter(dict[str, Parameter])

RUNG = "trial.rung"
EDITED = "study.edited"
STAGE = "study.stage"
"""A stage began, in a box of its own."""
NEW_SPACE = (EDITED, STAGE)
PRIOR = "study.prior"
"""What an earlier study has found, from which this one starts."""


def signs(*objectives: Objective) -> tuple[float, ...]:
    """What makes each objective one that is minimised."""
    return tuple(1.0 if objective.goal == "minimize" else -1.0 for objective in objectives)


def empty(spec: StudySpec) -> History:
    """The history of a study that has just been submitted with this spec."""
    first_of_stages = stages.ends(spec)[:-1]
    return History(spec.search_space, signs=signs(*spec.objectives), stages=first_of_stages, folds=spec.data.folds)


def first_spec(connection: Connection, study: Study) -> StudySpec:
    """The study as it was submitted, with the space that its first trials belong to."""
    return versions(connection, study)[0]


def edits(connection: Connection, study: Study) -> list[Event]:
    """The events that changed the space that is searched, oldest first."""
    return events.of_kinds(connection, study.id, NEW_SPACE) if study.version > 1 else []


def fold(connection: Connection, study: Study) -> History:
    """All that has happened in a study, in one reading."""
    history = empty(first_spec(connection, study))
    history.fold(change for _, change in changes(connection, study.id, after=0))
    return history


def space_of(spec: StudySpec) -> dict[str, JsonValue]:
    """What an event on a change of the space keeps of it."""
    plain = spec.to_json()
    return {"space": plain["space"], "constraints": plain.get("constraints", [])}


def versions(connection: Connection, study: Study) -> list[StudySpec]:
    """The study's spec with each space that was searched, the first one first; trials name theirs by number from 1."""
    spaces = [event.data["before"] for event in edits(connection, study)]
    return [*(with_space(study.spec, cast("Mapping[str, Any]", space)) for space in spaces), study.searched]


def with_space(spec: StudySpec, space: Mapping[str, Any]) -> StudySpec:
    """The spec with another `space` and other `constraints`, as a study's events keep them."""
    return StudySpec.parse({**spec.to_json(), "space": space["space"], "constraints": space["constraints"]})


def change_of(event: Event) -> Change | Edit | Prior | None:
    """What an event tells a sampler; None when it tells nothing."""
    if event.kind in NEW_SPACE:
        return Edit(
            Space(_SPACE.validate_python(event.data["space"]), tuple(cast("list[str]", event.data["constraints"])))
        )
    if event.kind == PRIOR:
        data: Any = event.data
        return Prior(data["configurations"], n_infeasible=data["n_infeasible"])
    if event.trial is None:
        return None
    if event.kind == RUNG:
        values = _numbers(event.data["value"])
        return Change(event.trial, Outcome.PENDING, values=values, rung=int(str(event.data["rung"])))
    outcome = _outcome(event)
    if outcome is None:
        return None
    values = _values(event) if outcome in (Outcome.COMPLETE, Outcome.PRUNED) else ()
    if outcome is Outcome.COMPLETE and event.data.get("broken"):
        outcome = Outcome.INFEASIBLE
    params: Any = event.data.get("params")
    steps = int(str(event.data.get("steps", 0)))
    return Change(event.trial, outcome, params=params, values=values, steps=steps, segment=_segment(event))


def changes(
    connection: Connection, study_id: int, *, after: int, up_to: int | None = None
) -> Iterator[tuple[int, Change | Edit | Prior]]:
    """What a study's events tell samplers, each with the event's id, in their order.

    Args:
        connection: in one reading.
        study_id: the study's.
        after: the last event that is known already; 0: none.
        up_to: the last event that is wanted; None: the newest.
    """
    while found := events.after(connection, study_id, after, limit=_AT_ONCE):
        for event in found:
            if up_to is not None and event.id > up_to:
                return
            after = event.id
            change = change_of(event)
            if change is not None:
                yield event.id, change


def _outcome(event: Event) -> Outcome | None:
    if event.kind == "trial.failed":
        return Outcome.INFEASIBLE if event.data.get("failure") in INFEASIBLE else Outcome.UNKNOWN
    return _OUTCOMES.get(event.kind)


def _segment(event: Event) -> Segment | None:
    place: Any = event.data.get("segment")
    return None if place is None else Segment(**place)


def _values(event: Event) -> tuple[float, ...]:
    """One for each objective; with several they stand beside the first one's."""
    several = cast("list[float] | None", event.data.get("values"))
    return _numbers(event.data.get("value")) if several is None else tuple(map(float, several))


def _numbers(value: Any) -> tuple[float, ...]:
    return () if value is None else (float(value),)

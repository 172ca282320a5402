"""Histories for samplers, folded from the events of a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import JsonValue, TypeAdapter
from sqlalchemy import Connection

from tunefleet.protocol import Event, Failure
from tunefleet.study import stages
from tunefleet.study.parameters import Parameter
from tunefleet.study.space import Space
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.history import Change, Edit, History, Outcome, Prior
from tunefleet_master.search.segment import Segment
from tunefleet_master.services.execution.early_stopping import RUNG
from tunefleet_master.storage import events
from tunefleet_master.storage.values import Study

_BATCH = 2_000  # events per query

_OUTCOMES = {
    "trial.waiting": Outcome.PENDING,
    "trial.running": Outcome.PENDING,
    "trial.paused": Outcome.PENDING,
    "trial.complete": Outcome.COMPLETE,
    "trial.pruned": Outcome.PRUNED,
    "trial.cancelled": Outcome.UNKNOWN,
}
INFEASIBLE = frozenset({Failure.DIVERGED, Failure.OUT_OF_MEMORY, Failure.INFEASIBLE})
"""Failures that the configuration causes."""

_SPACE: TypeAdapter[dict[str, Parameter]] = TypeAdapter(dict[str, Parameter])

EDITED = "study.edited"
STAGE = "study.stage"
"""A stage began, in a box of its own."""
NEW_SPACE = (EDITED, STAGE)
PRIOR = "study.prior"
"""The results of an earlier study, from which this one starts."""


def empty(spec: StudySpec) -> History:
    """Return the history of a study that was just submitted with this spec."""
    first_of_stages = stages.ends(spec)[:-1]
    signs = tuple(objective.sign for objective in spec.objectives)
    return History(spec.search_space, signs=signs, stages=first_of_stages, folds=spec.data.folds)


def first_spec(connection: Connection, study: Study) -> StudySpec:
    """Return the study's spec with the space of its first trials."""
    return versions(connection, study)[0]


def edits(connection: Connection, study: Study) -> list[Event]:
    """Return the events that changed the searched space, oldest first."""
    return events.of_kinds(connection, study.id, NEW_SPACE) if study.version > 1 else []


def fold(connection: Connection, study: Study) -> History:
    """Return the history of a study from all of its events."""
    history = empty(first_spec(connection, study))
    history.fold(change for _, change in changes(connection, study.id, after=0))
    return history


def space_of(spec: StudySpec) -> dict[str, JsonValue]:
    """Return the fields of a space that an event on its change stores."""
    plain = spec.to_json()
    return {"space": plain["space"], "constraints": plain.get("constraints", [])}


def versions(connection: Connection, study: Study) -> list[StudySpec]:
    """Return the study's spec with each space that was searched, oldest first; trials number them from 1."""
    spaces = [event.data["before"] for event in edits(connection, study)]
    return [*(with_space(study.spec, cast("Mapping[str, Any]", space)) for space in spaces), study.searched]


def with_space(spec: StudySpec, space: Mapping[str, Any]) -> StudySpec:
    """Return the spec with the `space` and the `constraints` of an event."""
    return StudySpec.parse({**spec.to_json(), "space": space["space"], "constraints": space["constraints"]})


def change_of(event: Event) -> Change | Edit | Prior | None:
    """Return the change that an event means to samplers; None for none."""
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
    """Yield the changes of a study in order, each with the id of its event.

    Args:
        connection: with one snapshot.
        study_id: the study's.
        after: the last event to skip; 0: none.
        up_to: the last event to read; None: the newest.
    """
    while found := events.after(connection, study_id, after, limit=_BATCH):
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
    """Return one value per objective; events on several objectives have `values` besides `value`."""
    several = cast("list[float] | None", event.data.get("values"))
    return _numbers(event.data.get("value")) if several is None else tuple(map(float, several))


def _numbers(value: Any) -> tuple[float, ...]:
    return () if value is None else (float(value),)

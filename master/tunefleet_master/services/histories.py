"""A study's events as what samplers learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import TypeAdapter
from sqlalchemy import Connection

from tunefleet.parameters import Parameter
from tunefleet.protocol import Event, Failure
from tunefleet.space import Space
from tunefleet.spec import Objective, StudySpec
from tunefleet_master.search.history import Change, Edit, History, Outcome
from tunefleet_master.storage import events
from tunefleet_master.storage.values import Study

_AT_ONCE = 2_000  # events that are read at a time

_OUTCOMES = {
    "trial.waiting": Outcome.PENDING,
    "trial.running": Outcome.PENDING,
    "trial.complete": Outcome.COMPLETE,
    "trial.pruned": Outcome.PRUNED,
    "trial.cancelled": Outcome.UNKNOWN,
}
_INFEASIBLE = frozenset({Failure.DIVERGED, Failure.OUT_OF_MEMORY, Failure.INFEASIBLE})
"""Failures that the configuration is to blame for."""

_SPACE: TypeAdapter[dict[str, Parameter]] = TypeAdapter(dict[str, Parameter])

RUNG = "trial.rung"
EDITED = "study.edited"


def signs(objective: Objective) -> tuple[float, ...]:
    """What makes each objective one that is minimised."""
    return (1.0 if objective.goal == "minimize" else -1.0,)


def empty(spec: StudySpec) -> History:
    """The history of a study that has just been submitted with this spec."""
    return History(spec.search_space, signs=signs(spec.objective))


def first_spec(connection: Connection, study: Study) -> StudySpec:
    """The study as it was submitted, with the space that its first trials belong to."""
    return versions(connection, study)[0]


def edits(connection: Connection, study: Study) -> list[Event]:
    """The events that changed the study's space, oldest first."""
    return events.of_kind(connection, study.id, EDITED) if study.version > 1 else []


def versions(connection: Connection, study: Study) -> list[StudySpec]:
    """The study's spec with each space that it has had, the first one first; trials name theirs by number from 1."""
    spaces = [event.data["before"] for event in edits(connection, study)]
    return [*(with_space(study.spec, cast("Mapping[str, Any]", space)) for space in spaces), study.spec]


def with_space(spec: StudySpec, space: Mapping[str, Any]) -> StudySpec:
    """The spec with another `space` and other `constraints`, as a study's events keep them."""
    return StudySpec.parse({**spec.to_json(), "space": space["space"], "constraints": space["constraints"]})


def change_of(event: Event) -> Change | Edit | None:
    """What an event tells a sampler; None when it tells nothing."""
    if event.kind == EDITED:
        return Edit(
            Space(_SPACE.validate_python(event.data["space"]), tuple(cast("list[str]", event.data["constraints"])))
        )
    if event.trial is None:
        return None
    if event.kind == RUNG:
        values = _numbers(event.data["value"])
        return Change(event.trial, Outcome.PENDING, values=values, rung=int(str(event.data["rung"])))
    outcome = _outcome(event)
    if outcome is None:
        return None
    values = _numbers(event.data.get("value")) if outcome in (Outcome.COMPLETE, Outcome.PRUNED) else ()
    params: Any = event.data.get("params")
    return Change(event.trial, outcome, params=params, values=values, steps=int(str(event.data.get("steps", 0))))


def changes(
    connection: Connection, study_id: int, *, after: int, up_to: int | None = None
) -> Iterator[tuple[int, Change | Edit]]:
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
        return Outcome.INFEASIBLE if event.data.get("failure") in _INFEASIBLE else Outcome.UNKNOWN
    return _OUTCOMES.get(event.kind)


def _numbers(value: Any) -> tuple[float, ...]:
    return () if value is None else (float(value),)

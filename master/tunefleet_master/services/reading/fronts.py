"""The Pareto front of a study with several objectives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunefleet.errors import Conflict, InvalidInput, Problem
from tunefleet.names import TrialId
from tunefleet.protocol import Page, TrialView
from tunefleet_master.search import pareto
from tunefleet_master.services.reading.views import trial_view
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study


def page(uow: UnitOfWork, name: str, *, cursor: str | None, limit: int) -> Page[TrialView]:
    """Return a page of the front, sorted by the first objective, best first; `total` counts the whole front.

    Raises:
        NotFound. Conflict: the study has one objective. InvalidInput: the cursor is invalid.
    """
    study = studies.get(uow.connection, name)
    if not study.spec.several_objectives:
        hint = f"Its best trial: `tunefleet best {name}`, or `best` of GET /studies/{name}."
        raise Conflict(f"study {name!r} has one objective, and so no front.", hint=hint)
    begin = _offset(cursor)
    front = _front(uow, study)
    chosen = front[begin : begin + limit]
    found = trials.by_ids(uow.connection, chosen) if chosen else {}
    end = begin + len(chosen)
    return Page[TrialView](
        items=[trial_view(found[trial_id], study) for trial_id in chosen],
        next=str(end) if end < len(front) else None,
        total=len(front),
    )


def _front(uow: UnitOfWork, study: Study) -> Sequence[TrialId]:
    """Return the complete trials that meet all outcomes and that no other such trial dominates, in order."""
    spec = study.spec
    results = [
        (trial_id, [metrics[objective.metric] for objective in spec.objectives])
        for trial_id, metrics in trials.results(uow.connection, study.id)
        if not spec.broken_outcomes(metrics)
    ]
    if not results:
        return []
    values = np.array([row for _, row in results]) * [objective.sign for objective in spec.objectives]
    on_front = np.flatnonzero(pareto.front(values))
    in_order = on_front[np.lexsort(values[on_front].T[::-1])]
    return [results[i][0] for i in in_order]


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise InvalidInput([Problem("cursor", "is not one that a page gave", cursor[:40])])
    return int(cursor)

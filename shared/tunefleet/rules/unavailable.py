"""Parts of the grammar that this version cannot run."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.errors import Problem
from tunefleet.study.spec import StudySpec

_LATER = {
    "finalists": "re-running finalists is not available yet",
    "ensemble": "ensembles are not available yet",
}


def unavailable_parts(spec: StudySpec) -> Iterator[Problem]:
    """Yield the keys of the study that this version cannot run."""
    for field, rule in _LATER.items():
        if getattr(spec, field) is not None:
            yield Problem(field, rule)

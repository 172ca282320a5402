"""The size of population-based training."""

from __future__ import annotations

import math

from tunefleet.study.spec import StudySpec


def n_segments(spec: StudySpec) -> int | None:
    """Return the number of trials of a population without failures; None if the study sets no steps or interval."""
    if spec.steps is None or spec.search.interval is None:
        return None
    return spec.search.population * math.ceil(spec.steps / spec.search.interval)

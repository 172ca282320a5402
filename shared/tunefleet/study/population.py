"""The size of population-based training."""

from __future__ import annotations

import math

from tunefleet.study.spec import StudySpec


def n_segments(spec: StudySpec) -> int | None:
    """How many trials the whole population needs, none of which fails; None where the study does not say."""
    if spec.steps is None or spec.search.interval is None:
        return None
    return spec.search.population * math.ceil(spec.steps / spec.search.interval)

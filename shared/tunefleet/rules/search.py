"""Rules for the sampler of a study."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.catalogue.samplers import SAMPLERS, walks_grid
from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.spec import StudySpec

MAX_GRID = 1_000_000  # points; a larger grid is probably a mistake, and would never end


def grid_problems(spec: StudySpec) -> Iterator[Problem]:
    """Refuse a grid with more points than MAX_GRID."""
    size = spec.search_space.grid_size
    if walks_grid(spec.search.sampler) and size > MAX_GRID:
        rule = (
            f"the grid has {size:,} points, and at most {MAX_GRID:,} are allowed; "
            "set smaller `points`, or use random or sobol"
        )
        yield Problem("search.sampler", rule, shown(spec.search.sampler))


def warm_start_problems(spec: StudySpec) -> Iterator[Problem]:
    """Refuse `warm_start` for a sampler that does not learn from earlier studies."""
    traits = SAMPLERS.get(spec.search.sampler)
    if spec.warm_start and traits is not None and not traits.takes_warm_start:
        rule = (
            f"is for samplers that learn, but the sampler is {spec.search.sampler}; set `sampler: auto`, or leave "
            "`warm_start` out"
        )
        yield Problem("warm_start", rule, shown(list(spec.warm_start)))

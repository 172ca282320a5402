"""Warnings about the budget of a study."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.catalogue.samplers import trains_population, walks_grid
from tunefleet.study.spec import StudySpec
from tunefleet.study.stages import n_trials


def budget_warnings(spec: StudySpec) -> Iterator[str]:
    """Warn of a study without an end, and of a budget that does not match the size of the space."""
    if trains_population(spec.search.sampler):  # it ends by itself, and its trials may have equal configurations
        return
    trials, is_grid = n_trials(spec), walks_grid(spec.search.sampler)
    size = spec.search_space.grid_size if is_grid else spec.search_space.size
    if trials is None and spec.budget.hours is None and not (is_grid or size):
        yield "budget is not set, so the study runs until it is stopped."
    if trials is None or size is None:
        return
    what = "the grid" if is_grid else "the space"
    if size < trials:
        yield f"{what} has at most {size:,} configurations, so the study ends before its budget of {trials:,} trials."
    elif is_grid and size > trials:
        yield f"the grid has up to {size:,} points, but the budget of {trials:,} trials does not cover all of them."

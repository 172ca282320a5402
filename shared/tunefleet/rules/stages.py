"""Rules for a plan of stages."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.catalogue.samplers import walks_grid
from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.spec import StudySpec


def stage_problems(spec: StudySpec) -> Iterator[Problem]:
    """Yield the problems of the study's `stages`."""
    if not spec.stages:
        return
    if walks_grid(spec.search.sampler):
        rule = "cannot be searched by a grid, because its points are fixed; set the sampler to auto or random"
        yield Problem("stages", rule)
    if spec.stages == "auto":
        yield from _needed_by_auto(spec)
        return
    total, budget = sum(stage.trials for stage in spec.stages), spec.budget.trials
    if budget is not None and total > budget:
        rule = f"have {total} trials together, and `budget.trials` is {budget}; raise the budget, or leave it out"
        yield Problem("stages", rule)
    for i, stage in enumerate(spec.stages):
        if spec.steps is not None and stage.steps > spec.steps:
            rule = f"is above the study's `steps`, which is {spec.steps}; lower it, or raise `steps`"
            yield Problem(f"stages[{i}].steps", rule, shown(stage.steps))
        if i > 0 and stage.steps < spec.stages[i - 1].steps:
            rule = f"is below the {spec.stages[i - 1].steps} of the stage before; no stage may be shorter than that"
            yield Problem(f"stages[{i}].steps", rule, shown(stage.steps))


def _needed_by_auto(spec: StudySpec) -> Iterator[Problem]:
    if spec.budget.trials is None:
        yield Problem("budget.trials", "is required by `stages: auto`, which divides the trials among the stages")
    if spec.steps is None:
        yield Problem("steps", "is required by `stages: auto`: the steps of a trial in the last stage")

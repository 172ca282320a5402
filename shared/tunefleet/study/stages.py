"""Coarse-to-fine stages: the stage of a trial, and its length there.

The trial numbers of a study are divided among its stages: the first `trials` belong to the first stage, and so on.
If the budget is raised, the further trials belong to the last stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from tunefleet.study.spec import Stage, StudySpec

SHRINK = 3
"""With `auto`, each stage has a third of the trials of the stage before and three times the steps: equal work."""

MAX_STAGES = 3
MIN_TRIALS = 5  # in the last stage that `auto` plans; fewer add little to the best trial of the stage before


def planned(spec: StudySpec) -> tuple[Stage, ...]:
    """Return the study's stages; empty without stages, or if the budget is too small for two `auto` stages."""
    if spec.stages != "auto":
        return spec.stages
    trials, steps = spec.budget.trials or 0, spec.steps or 0
    for n in range(MAX_STAGES, 1, -1):
        shares = [SHRINK ** (n - 1 - k) for k in range(n)]
        last = trials // sum(shares)
        if last >= MIN_TRIALS and steps >= SHRINK ** (n - 1):
            counts = [share * last for share in shares]
            counts[0] += trials - sum(counts)
            return tuple(Stage(trials=count, steps=steps // share) for count, share in zip(counts, shares, strict=True))
    return ()


def n_trials(spec: StudySpec) -> int | None:
    """Return the trials of the submitted budget, by default the sum over the stages; None: no limit."""
    stages = planned(spec)
    return spec.budget.trials or (sum(stage.trials for stage in stages) if stages else None)


def ends(spec: StudySpec) -> Sequence[int]:
    """Return for each stage the number after its last trial. The last stage has all later trials too."""
    return list(accumulate(stage.trials for stage in planned(spec)))


def stage_of(spec: StudySpec, number: int) -> int:
    """Return the stage of a trial, from 0; 0 if the study has no stages."""
    return sum(number >= end for end in ends(spec)[:-1])


def steps_of(spec: StudySpec, number: int) -> int | None:
    """Return the steps of a trial that is not stopped early; None if the study does not set them."""
    stages = planned(spec)
    return stages[stage_of(spec, number)].steps if stages else spec.steps


def longest(spec: StudySpec) -> int | None:
    """Return the steps of a trial in the longest stage; None if the study does not set them."""
    if isinstance(spec.stages, tuple) and spec.stages:
        return max(stage.steps for stage in spec.stages)
    return spec.steps

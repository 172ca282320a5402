"""Coarse to fine: which stage a trial belongs to, how long it runs there, and what is wrong with a plan of stages.

The stages share out a study's trial numbers: the first `trials` of them belong to the first stage, and so on. Trials
beyond the plan, of a study whose budget was raised, belong to the last stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from tunefleet.study.spec import Stage, StudySpec

SHRINK = 3
"""`auto` gives a stage a third of the trials of the one before, and three times the steps: the same work."""

MAX_STAGES = 3
MIN_TRIALS = 5  # in the last of the stages that `auto` plans: fewer show no more than where the best one was


def planned(spec: StudySpec) -> tuple[Stage, ...]:
    """The study's stages; empty where it has none, and where `auto` finds its budget too small for two."""
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
    """How many trials the study's budget has as it is submitted: those of its stages unless it says; None: no limit."""
    stages = planned(spec)
    return spec.budget.trials or (sum(stage.trials for stage in stages) if stages else None)


def ends(spec: StudySpec) -> Sequence[int]:
    """For each stage the number after that of its last trial; the last stage goes on behind its own."""
    return list(accumulate(stage.trials for stage in planned(spec)))


def stage_of(spec: StudySpec, number: int) -> int:
    """The stage that a trial belongs to, from 0; 0 where the study has none."""
    return sum(number >= end for end in ends(spec)[:-1])


def steps_of(spec: StudySpec, number: int) -> int | None:
    """How many steps a trial runs that is never stopped; None: the study does not say."""
    stages = planned(spec)
    return stages[stage_of(spec, number)].steps if stages else spec.steps


def longest(spec: StudySpec) -> int | None:
    """How many steps a trial runs that is never stopped, in the longest stage; None: the study does not say."""
    if isinstance(spec.stages, tuple) and spec.stages:
        return max(stage.steps for stage in spec.stages)
    return spec.steps

"""What population-based training needs of a study: it is judged without a master."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.catalogue.tasks import TASKS
from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.population import n_segments
from tunefleet.study.spec import CommandRun, StudySpec, TaskRun

SAMPLER = "pbt"
READS = ("population", "interval")
"""The keys of `search` that no other sampler reads."""

SMALLEST = 4  # of fewer members, a fifth at the top and a fifth at the bottom leave nobody between


def population_problems(spec: StudySpec) -> Iterator[Problem]:
    """What is wrong with the study's population, or with its having one."""
    if spec.search.sampler != SAMPLER:
        yield from _unread_keys(spec)
        return
    yield from _size_problems(spec)
    yield from _length_problems(spec)
    yield from _budget_problems(spec)
    if isinstance(spec.run, CommandRun):
        rule = (
            "population-based training goes on from checkpoints, which a command does not have; run a function that "
            "passes its model and its optimizer to trial.epochs(...), or choose another sampler"
        )
        yield Problem("run.command", rule, shown(spec.run.command))
    yield from _shape_problems(spec)
    if spec.pruning.pruner != "none":
        rule = "population-based training replaces its worst members by itself; leave `pruning` out"
        yield Problem("pruning.pruner", rule, shown(spec.pruning.pruner))
    if spec.stages:
        yield Problem("stages", "population-based training runs in one; leave `stages` out, or choose another sampler")


def _unread_keys(spec: StudySpec) -> Iterator[Problem]:
    for key in READS:
        if key in spec.search.model_fields_set:
            rule = (
                f"is read by {SAMPLER} only, and the sampler is {spec.search.sampler}; leave it out, or set `{SAMPLER}`"
            )
            yield Problem(f"search.{key}", rule, shown(getattr(spec.search, key)))


def _size_problems(spec: StudySpec) -> Iterator[Problem]:
    if spec.search.population < SMALLEST:
        rule = f"must be at least {SMALLEST}, so that there is a best and a worst to compare; 8 is a good beginning"
        yield Problem("search.population", rule, shown(spec.search.population))


def _length_problems(spec: StudySpec) -> Iterator[Problem]:
    steps, interval = spec.steps, spec.search.interval
    if steps is None:
        yield Problem("steps", f"is required by {SAMPLER}: how many steps each member runs in all, such as `steps: 40`")
    if interval is None:
        rule = f"is required by {SAMPLER}: after how many steps members are compared, such as `interval: 4`"
        yield Problem("search.interval", rule)
    elif steps is not None and interval >= steps:
        rule = (
            f"must be below the {steps} steps that a member runs, or none is ever compared; a tenth is a good beginning"
        )
        yield Problem("search.interval", rule, shown(interval))


def _shape_problems(spec: StudySpec) -> Iterator[Problem]:
    """Parameters of a built-in task with several values, whose weights a member could not hand on."""
    signature = TASKS.get(spec.run.task) if isinstance(spec.run, TaskRun) else None
    taken = {} if signature is None else signature.parameters
    for name, parameter in spec.space.items():
        if name in taken and taken[name].shapes and parameter.size != 1:
            rule = (
                "shapes what is trained, which members of a population hand on to each other; give it one value, such "
                f"as `{name}: {{fixed: {taken[name].default}}}`, or leave it out"
            )
            yield Problem(f"space.{name}", rule)


def _budget_problems(spec: StudySpec) -> Iterator[Problem]:
    trials, needed = spec.budget.trials, n_segments(spec)
    if trials is not None and needed is not None and trials < needed:
        rule = (
            f"is too small: each member's `interval` steps are a trial, so the population needs {needed:,} "
            f"({spec.search.population} members with {needed // spec.search.population} trials each); set it to at "
            f"least {needed:,}, with some more for trials that fail, or leave it out"
        )
        yield Problem("budget.trials", rule, shown(trials))

"""Rules for population-based training."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.catalogue.pruners import NO_PRUNER
from tunefleet.catalogue.samplers import SAMPLERS, trains_population
from tunefleet.catalogue.tasks import TASKS
from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.population import n_segments
from tunefleet.study.spec import CommandRun, Search, StudySpec, TaskRun

MIN_POPULATION = 4  # with fewer, the top fifth and the bottom fifth leave no member between them


def population_problems(spec: StudySpec) -> Iterator[Problem]:
    """Yield the problems of a study's population, or of keys that only a population reads."""
    yield from _unread_keys(spec)
    if not trains_population(spec.search.sampler):
        return
    yield from _size_problems(spec)
    yield from _length_problems(spec)
    yield from _budget_problems(spec)
    if isinstance(spec.run, CommandRun):
        rule = (
            "population-based training continues from checkpoints, but a command has none; run a function that passes "
            "its model and its optimizer to trial.epochs(...), or choose another sampler"
        )
        yield Problem("run.command", rule, shown(spec.run.command))
    yield from _shape_problems(spec)
    if spec.pruning.pruner != NO_PRUNER:
        rule = "population-based training replaces its worst members by itself; leave `pruning` out"
        yield Problem("pruning.pruner", rule, shown(spec.pruning.pruner))
    if spec.stages:
        yield Problem("stages", "population-based training has no stages; leave `stages` out, or set another sampler")


def _unread_keys(spec: StudySpec) -> Iterator[Problem]:
    traits = SAMPLERS.get(spec.search.sampler)
    read = () if traits is None else traits.reads
    for key in Search.model_fields:  # in the order of the grammar
        readers = [name for name, each in SAMPLERS.items() if key in each.reads]
        if readers and key in spec.search.model_fields_set and key not in read:
            rule = (
                f"is read by {', '.join(readers)} only, but the sampler is {spec.search.sampler}; leave it out, or set "
                f"`{readers[0]}`"
            )
            yield Problem(f"search.{key}", rule, shown(getattr(spec.search, key)))


def _size_problems(spec: StudySpec) -> Iterator[Problem]:
    if spec.search.population < MIN_POPULATION:
        rule = f"must be at least {MIN_POPULATION}, so that the best and the worst differ; 8 is a good start"
        yield Problem("search.population", rule, shown(spec.search.population))


def _length_problems(spec: StudySpec) -> Iterator[Problem]:
    steps, interval = spec.steps, spec.search.interval
    if steps is None:
        rule = f"is required by {spec.search.sampler}: the steps of each member in all, such as `steps: 40`"
        yield Problem("steps", rule)
    if interval is None:
        rule = f"is required by {spec.search.sampler}: the number of steps between comparisons, such as `interval: 4`"
        yield Problem("search.interval", rule)
    elif steps is not None and interval >= steps:
        rule = (
            f"must be below the {steps} steps that a member runs; otherwise members are never compared; a tenth of "
            "the steps is a good start"
        )
        yield Problem("search.interval", rule, shown(interval))


def _shape_problems(spec: StudySpec) -> Iterator[Problem]:
    """Refuse several values of a parameter that changes shapes: members could not copy each other's weights."""
    signature = TASKS.get(spec.run.task) if isinstance(spec.run, TaskRun) else None
    taken = {} if signature is None else signature.parameters
    for name, parameter in spec.space.items():
        if name in taken and taken[name].shapes and parameter.size != 1:
            rule = (
                "changes the shapes of weights, but members of a population copy each other's weights; give it one "
                f"value, such as `{name}: {{fixed: {taken[name].default}}}`, or leave it out"
            )
            yield Problem(f"space.{name}", rule)


def _budget_problems(spec: StudySpec) -> Iterator[Problem]:
    trials, needed = spec.budget.trials, n_segments(spec)
    if trials is not None and needed is not None and trials < needed:
        rule = (
            f"is too small: a trial runs `interval` steps of a member, so the population needs {needed:,} trials "
            f"({spec.search.population} members with {needed // spec.search.population} trials each); set it to at "
            f"least {needed:,}, plus some for trials that fail, or leave it out"
        )
        yield Problem("budget.trials", rule, shown(trials))

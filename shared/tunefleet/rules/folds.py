"""Rules for cross-validation."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.catalogue.pruners import NO_PRUNER
from tunefleet.catalogue.samplers import trains_population
from tunefleet.catalogue.tasks import TASKS
from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.spec import StudySpec, TaskRun


def fold_problems(spec: StudySpec) -> Iterator[Problem]:
    """Yield the parts of a study that its folds rule out, and data that has too few samples for them."""
    if spec.data.folds == 1:
        if "race" in spec.data.model_fields_set:
            yield Problem("data.race", "compares folds, but `data.folds` is 1; leave it out, or set more folds")
        return
    if "split" in spec.data.model_fields_set:
        rule = f"is not read if `data.folds` is {spec.data.folds}: each fold is the validation part once; leave it out"
        yield Problem("data.split", rule)
    yield from _class_problems(spec)
    if spec.several_objectives:
        rule = "works with one objective only: a result is the mean of the folds' values; set `data.folds: 1`"
        yield Problem("data.folds", rule, shown(spec.data.folds))
    if trains_population(spec.search.sampler):
        rule = (
            "trains a population: its trials continue from each other, but a fold must not continue from another; set "
            "another sampler, or `data.folds: 1`"
        )
        yield Problem("search.sampler", rule, shown(spec.search.sampler))
    if spec.stages:
        yield Problem("stages", "cannot be used with cross-validation; leave it out, or set `data.folds: 1`")
    if spec.pruning.pruner != NO_PRUNER:
        rule = (
            "compares trials while they train, but with folds whole configurations are compared, fold by fold; leave "
            "`pruning` out (`data.race` stops worse configurations), or set `data.folds: 1`"
        )
        yield Problem("pruning.pruner", rule, shown(spec.pruning.pruner))


def _class_problems(spec: StudySpec) -> Iterator[Problem]:
    """Refuse more folds than the smallest class of a built-in data set has samples."""
    if not isinstance(spec.run, TaskRun) or not spec.data.stratify or spec.run.task not in TASKS:
        return
    smallest = TASKS[spec.run.task].smallest_class(spec.run.options)
    if smallest is not None and spec.data.folds > smallest:
        rule = f"is above the {smallest} samples of the smallest class of {spec.run.options['dataset']}; lower it"
        yield Problem("data.folds", rule, shown(spec.data.folds))

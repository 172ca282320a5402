"""Rules about cross-validation."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.catalogue.pruners import NO_PRUNER
from tunefleet.catalogue.samplers import trains_population
from tunefleet.catalogue.tasks import TASKS
from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.spec import StudySpec, TaskRun


def fold_problems(spec: StudySpec) -> Iterator[Problem]:
    """What does not go together with the study's folds, or cannot be divided into so many."""
    if spec.data.folds == 1:
        if "race" in spec.data.model_fields_set:
            yield Problem("data.race", "compares folds, and `data.folds` is 1; leave it out, or set the folds")
        return
    if "split" in spec.data.model_fields_set:
        rule = f"is not read where `data.folds` is {spec.data.folds}: each fold is validated on once; leave it out"
        yield Problem("data.split", rule)
    yield from _class_problems(spec)
    if spec.several_objectives:
        rule = "is for one objective: a configuration's result is the mean of its folds' values; set `folds: 1`"
        yield Problem("data.folds", rule, shown(spec.data.folds))
    if trains_population(spec.search.sampler):
        rule = "trains a population, whose trials go on from each other, and no fold may go on from another; set "
        yield Problem("search.sampler", rule + "another sampler, or `data.folds: 1`", shown(spec.search.sampler))
    if spec.stages:
        yield Problem("stages", "is not for cross-validation; leave it out, or set `data.folds: 1`")
    if spec.pruning.pruner != NO_PRUNER:
        rule = (
            "compares trials while they train, and with folds whole configurations are compared, fold by fold; leave "
            "`pruning` out (`data.race` stops those that are worse), or set `data.folds: 1`"
        )
        yield Problem("pruning.pruner", rule, shown(spec.pruning.pruner))


def _class_problems(spec: StudySpec) -> Iterator[Problem]:
    """A fold without a sample of some class cannot be validated; the master knows the built-in data sets' classes."""
    if not isinstance(spec.run, TaskRun) or not spec.data.stratify or spec.run.task not in TASKS:
        return
    smallest = TASKS[spec.run.task].smallest_class(spec.run.options)
    if smallest is not None and spec.data.folds > smallest:
        rule = f"is above the {smallest} samples of the smallest class of {spec.run.options['dataset']}, one a fold"
        yield Problem("data.folds", rule, shown(spec.data.folds))

"""Cross-validation: which trials are the folds of which configuration, and what goes with folds.

In a study with `data.folds: k` each configuration is k trials, one for each fold, with consecutive numbers: those of
configuration c are c*k to c*k + k - 1. So each fold has a lease of its own. Where there are no folds, a configuration
and its trial are the same and have the same number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import stdev

from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.spec import StudySpec, TaskRun
from tunefleet.states import TrialState
from tunefleet.tasks import TASKS

_UNFINISHED = frozenset({TrialState.WAITING, TrialState.RUNNING, TrialState.PAUSED})


def configuration_of(spec: StudySpec, number: int) -> int:
    """The configuration that a trial belongs to, counted from 0."""
    return number // spec.data.folds


def fold_of(spec: StudySpec, number: int) -> int | None:
    """The fold that a trial is validated on, from 0; None where the study has no folds. A preflight's is the first."""
    return max(number, 0) % spec.data.folds if spec.data.folds > 1 else None


def numbers_of(spec: StudySpec, configuration: int) -> range:
    """The numbers of a configuration's trials."""
    first = configuration * spec.data.folds
    return range(first, first + spec.data.folds)


def standard_error_of(values: Sequence[float]) -> float | None:
    """The standard error of the mean, s / sqrt(n); None for fewer than two values.

    Folds share their training samples, so that their values are not independent: it is a little too small (Bengio and
    Grandvalet 2004, No Unbiased Estimator of the Variance of K-Fold Cross-Validation).
    """
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def state_of(states: Sequence[TrialState]) -> TrialState:
    """The state of a configuration whose folds are in these states.

    It waits until its first fold begins, and runs until its last one has ended. Then it is complete when all folds are;
    otherwise it failed, was pruned or was cancelled as the first of these says that is true of a fold.
    """
    if all(state is TrialState.WAITING for state in states):
        return TrialState.WAITING
    if any(state in _UNFINISHED for state in states):
        return TrialState.RUNNING
    over = (TrialState.FAILED, TrialState.PRUNED, TrialState.CANCELLED)
    return next((state for state in over if state in states), TrialState.COMPLETE)


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
    if spec.search.sampler == "pbt":
        rule = "trains a population, whose trials go on from each other, and no fold may go on from another; set "
        yield Problem("search.sampler", rule + "another sampler, or `data.folds: 1`", shown("pbt"))
    if spec.stages:
        yield Problem("stages", "is not for cross-validation; leave it out, or set `data.folds: 1`")
    if spec.pruning.pruner != "none":
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

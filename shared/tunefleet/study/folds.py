"""Cross-validation: which trials are the folds of which configuration, and what goes with folds.

In a study with `data.folds: k` each configuration is k trials, one for each fold, with consecutive numbers: those of
configuration c are c*k to c*k + k - 1. So each fold has a lease of its own. Where there are no folds, a configuration
and its trial are the same and have the same number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import stdev

from tunefleet.study.spec import StudySpec
from tunefleet.study.states import TrialState

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

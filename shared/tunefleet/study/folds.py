"""Cross-validation: the trials, folds and results of a configuration.

With `data.folds: k`, each configuration has k trials, one for each fold, so each fold has its own lease. Configuration
c has the trials c*k to c*k + k - 1. Without folds, a configuration has one trial, with the same number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import stdev

from tunefleet.study.spec import StudySpec
from tunefleet.study.states import UNFINISHED, TrialState


def configuration_of(spec: StudySpec, number: int) -> int:
    """Return the configuration of a trial, counted from 0."""
    return number // spec.data.folds


def fold_of(spec: StudySpec, number: int) -> int | None:
    """Return the fold that a trial is validated on, from 0; None without folds. A preflight uses the first fold."""
    return max(number, 0) % spec.data.folds if spec.data.folds > 1 else None


def numbers_of(spec: StudySpec, configuration: int) -> range:
    """Return the numbers of a configuration's trials."""
    first = configuration * spec.data.folds
    return range(first, first + spec.data.folds)


def standard_error_of(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean, s / sqrt(n); None for fewer than two values.

    The estimate is slightly too small: folds share training samples, so their values are not independent (Bengio and
    Grandvalet 2004, No Unbiased Estimator of the Variance of K-Fold Cross-Validation).
    """
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def state_of(states: Sequence[TrialState]) -> TrialState:
    """Return the state of a configuration from the states of its folds.

    It waits until its first fold starts, and runs until its last fold ends. It is complete if all folds are. Otherwise
    it is failed if any fold failed, else pruned if any fold was pruned, else cancelled.
    """
    if all(state is TrialState.WAITING for state in states):
        return TrialState.WAITING
    if any(state in UNFINISHED for state in states):
        return TrialState.RUNNING
    by_precedence = (TrialState.FAILED, TrialState.PRUNED, TrialState.CANCELLED)
    return next((state for state in by_precedence if state in states), TrialState.COMPLETE)

"""Suspected label errors of a study, from predictions on samples that the models were not trained on.

A sample's probabilities are the mean over the best trials that held it out, at most MAX_OPINIONS of them. With folds
some trials hold out every sample; without folds, only samples of the validation part are held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tunefleet.protocol.looks import LabelIssue, LabelLook
from tunefleet.protocol.predictions import SampleId
from tunefleet_master.diagnosis.label_errors import LabelErrors, find_label_errors
from tunefleet_master.diagnosis.trial_predictions import TrialPredictions, contradiction, picture_of

MAX_PREDICTIONS = 5  # of the best trials: more would include worse ones, and five models rarely agree by chance


@dataclass(slots=True)
class _PooledSample:
    """The sum of the predictions on one sample."""

    label: int
    sums: NDArray[np.float64]
    n: int = 0


@dataclass(slots=True)
class _PooledPredictions:
    samples: dict[SampleId, _PooledSample] = field(default_factory=dict)
    trials: list[TrialPredictions] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, candidate: TrialPredictions) -> bool:
        """Add a trial's predictions on samples that still need some, and return True if there were any."""
        predictions, is_needed = candidate.predictions, False
        for place, each in enumerate(predictions.ids):
            pooled = self.samples.setdefault(
                each, _PooledSample(predictions.labels[place], np.zeros(len(predictions.classes)))
            )
            if pooled.n < MAX_PREDICTIONS:
                pooled.sums += predictions.probabilities[place]
                pooled.n += 1
                is_needed = True
        return is_needed


def find_label_issues(study: str, candidates: Sequence[TrialPredictions], *, count: int) -> LabelLook:
    """Return the `count` most suspicious labels by these trials, at least one, the best first."""
    pool = _pool(candidates)
    pooled = list(pool.samples.values())
    found = find_label_errors([it.label for it in pooled], np.stack([it.sums / it.sums.sum() for it in pooled]))
    ids = list(pool.samples)
    suspicious = [place for place in found.order.tolist() if found.margin[place] > 0][:count]
    return LabelLook(
        study=study,
        trials=[it.trial for it in pool.trials],
        n_samples=len(ids),
        n_suspected=int(found.is_suspected.sum()),
        rate=found.rate,
        issues=[_issue(ids[place], place, found, pool) for place in suspicious],
        left_out=pool.left_out,
    )


def _pool(candidates: Sequence[TrialPredictions]) -> _PooledPredictions:
    pool = _PooledPredictions()
    classes = candidates[0].predictions.classes
    labels: dict[SampleId, int] = {}
    for candidate in candidates:
        predictions = candidate.predictions
        reason = contradiction(candidate, classes, labels=labels)
        if reason is not None:
            pool.left_out.append(reason)
            continue
        labels.update(zip(predictions.ids, predictions.labels, strict=True))
        if pool.add(candidate):
            pool.trials.append(candidate)
    return pool


def _issue(sample: SampleId, place: int, found: LabelErrors, pool: _PooledPredictions) -> LabelIssue:
    classes = pool.trials[0].predictions.classes
    pooled = pool.samples[sample]
    likeliest = int(pooled.sums.argmax())
    suggested = int(found.suggested[place]) if found.is_suspected[place] else likeliest
    return LabelIssue(
        id=sample,
        label=classes[pooled.label],
        suggested=classes[suggested],
        margin=float(found.margin[place]),
        is_suspected=bool(found.is_suspected[place]),
        n_opinions=pooled.n,
        picture=picture_of(sample, pool.trials),
    )

"""Comparison of trials' predictions on the same samples: those the best trial gets wrong, and those all trials do."""

from __future__ import annotations

from collections.abc import Sequence

from tunefleet.protocol.looks import Disagreement, Opinion, StudyLook
from tunefleet.protocol.predictions import SampleId
from tunefleet_master.diagnosis.trial_predictions import TrialPredictions, contradiction, picture_of

MIN_SHARED = 0.5  # of the best trial's samples; a trial that shares fewer holds out another fold


def compare(study: str, candidates: Sequence[TrialPredictions], *, count: int) -> StudyLook:
    """Compare trials, the best first, on the samples that all hold out; return at most `count` samples of each kind.

    A trial that shares too few samples with the best one, or contradicts it, is left out with a sentence.
    """
    best = candidates[0]
    labels = dict(zip(best.predictions.ids, best.predictions.labels, strict=True))
    compared, left_out = [best], []
    for other in candidates[1:]:
        reason = contradiction(other, best.predictions.classes, labels=labels) or _overlap_problem(best, other)
        if reason is None:
            compared.append(other)
        else:
            left_out.append(reason)
    shared = [each for each in best.predictions.ids if all(each in it.places for it in compared)]
    disagreements = [_disagreement(each, compared) for each in shared] if len(compared) > 1 else []
    wrong = [each for each in disagreements if not each.opinions[0].is_right]
    right = [each for each in disagreements if each.opinions[0].is_right]
    n_others = len(compared) - 1
    return StudyLook(
        study=study,
        trials=[it.trial for it in compared],
        n_samples=len(shared),
        best_wrong=sorted((it for it in wrong if 2 * _n_right(it) > n_others), key=_n_right, reverse=True)[:count],
        best_right=sorted((it for it in right if 2 * (_n_right(it) - 1) < n_others), key=_n_right)[:count],
        all_wrong=sorted((it for it in wrong if _n_right(it) == 0), key=_of_label)[:count],
        left_out=left_out,
    )


def _overlap_problem(best: TrialPredictions, other: TrialPredictions) -> str | None:
    n_shared = len(best.places.keys() & other.places.keys())
    if n_shared > MIN_SHARED * len(best.places):
        return None
    return f"trial {other.trial} shares only {n_shared} of the {len(best.places)} samples of trial {best.trial}."


def _disagreement(sample: SampleId, compared: Sequence[TrialPredictions]) -> Disagreement:
    first = compared[0].predictions
    return Disagreement(
        id=sample,
        label=first.classes[first.labels[compared[0].places[sample]]],
        picture=picture_of(sample, compared),
        opinions=[_opinion(it, it.places[sample]) for it in compared],
    )


def _opinion(candidate: TrialPredictions, place: int) -> Opinion:
    predictions = candidate.predictions
    return Opinion(
        trial=candidate.trial,
        predicted=predictions.classes[predictions.predicted(place)],
        of_label=predictions.of_label(place),
        is_right=not predictions.is_wrong(place),
    )


def _n_right(disagreement: Disagreement) -> int:
    return sum(opinion.is_right for opinion in disagreement.opinions)


def _of_label(disagreement: Disagreement) -> float:
    """Return the mean probability of the label."""
    return sum(opinion.of_label for opinion in disagreement.opinions) / len(disagreement.opinions)

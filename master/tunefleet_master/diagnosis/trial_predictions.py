"""A trial's predictions on held-out samples, which its models were not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tunefleet.protocol.predictions import Picture, Predictions, SampleId


@dataclass(frozen=True)
class TrialPredictions:
    """A trial's number and its predictions."""

    trial: int
    predictions: Predictions

    @cached_property
    def places(self) -> Mapping[SampleId, int]:
        """The index of each sample in the predictions."""
        return {each: place for place, each in enumerate(self.predictions.ids)}


def contradiction(candidate: TrialPredictions, classes: Sequence[str], *, labels: Mapping[SampleId, int]) -> str | None:
    """Return why a trial cannot be compared with better ones of known classes and labels; None if it can."""
    predictions = candidate.predictions
    if predictions.classes != classes:
        return f"trial {candidate.trial} has other classes than better trials."
    for each, label in zip(predictions.ids, predictions.labels, strict=True):
        if labels.get(each, label) != label:
            return f"trial {candidate.trial} has another label for sample {each!r} than better trials."
    return None


def picture_of(sample: SampleId, trials: Sequence[TrialPredictions]) -> Picture | None:
    """Return the picture of a sample that any of the trials has stored."""
    pictures = (it.predictions.pictures.get(it.places[sample]) for it in trials if sample in it.places)
    return next((picture for picture in pictures if picture is not None), None)

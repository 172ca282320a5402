"""Error analysis on the wire: samples that models predict well, wrongly or differently, and how they are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from tunefleet.model import Model
from tunefleet.names import Name
from tunefleet.protocol.predictions import Picture, Predictions, SampleId

N_EXAMPLES = 12
"""The number of samples shown of each kind."""


class Example(Model):
    """A sample and its prediction."""

    id: SampleId
    label: str
    predicted: str
    confidence: float
    """The probability of the predicted class."""
    of_label: float
    """The probability of the label."""
    picture: Picture | None = None


class TrialLook(Model):
    """Samples of the study's probe set that a trial's model predicts rightly and wrongly."""

    study: Name
    trial: int
    model: Literal["best", "last"]
    """The model of the trial's best step, or of its last step."""
    n_samples: int
    n_wrong: int
    best: list[Example]
    """Right predictions, the most confident first."""
    worst: list[Example]
    """Samples to whose label the model gives the lowest probability, the lowest first."""
    confidently_wrong: list[Example]
    """Wrong predictions, the most confident first."""


class Opinion(Model):
    """One trial's prediction for a sample."""

    trial: int
    predicted: str
    of_label: float
    is_right: bool


class Disagreement(Model):
    """A sample and the predictions of several trials, the best trial first."""

    id: SampleId
    label: str
    picture: Picture | None = None
    opinions: list[Opinion]


class StudyLook(Model):
    """The same samples, compared across trials."""

    study: Name
    trials: list[int]
    """The compared trials, the best first."""
    n_samples: int
    """The number of samples that all of them have predicted."""
    best_wrong: list[Disagreement]
    """The best trial is wrong and most others are right; sorted by the number of others, the most first."""
    best_right: list[Disagreement]
    """The best trial is right and most others are wrong; sorted by the number of others, the most first."""
    all_wrong: list[Disagreement]
    """All trials are wrong; sorted by the probability of the label, the lowest first."""
    left_out: list[str] = Field(default_factory=list)
    """A sentence for each trial without comparable predictions."""


class LabelIssue(Model):
    """A sample whose label may be wrong."""

    id: SampleId
    label: str
    suggested: str
    """The class that models predict that were not trained on the sample."""
    margin: float
    """The greatest probability minus the probability of the label."""
    is_suspected: bool
    """True if confident learning counts it as an error: the models are as confident as for samples of that class."""
    n_opinions: int
    """The number of trials that predicted it."""
    picture: Picture | None = None


class LabelLook(Model):
    """Samples whose label may be wrong, judged by models that were not trained on them."""

    study: Name
    trials: list[int]
    """The trials whose predictions were used."""
    n_samples: int
    n_suspected: int
    rate: float
    """The estimated share of wrong labels."""
    issues: list[LabelIssue]
    """Sorted by suspicion, the most suspicious first."""
    left_out: list[str] = Field(default_factory=list)
    """A sentence for each trial without usable predictions."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The chosen samples of each kind, as indices into `Predictions.ids`."""

    best: Sequence[int]
    worst: Sequence[int]
    confidently_wrong: Sequence[int]


def choose(predictions: Predictions, count: int = N_EXAMPLES) -> Chosen:
    """Choose the samples to show, at most `count` of each kind; ties go to the earlier sample."""
    places = range(len(predictions.ids))
    right = [place for place in places if not predictions.is_wrong(place)]
    wrong = [place for place in places if predictions.is_wrong(place)]
    return Chosen(
        best=sorted(right, key=predictions.of_label, reverse=True)[:count],
        worst=sorted(places, key=predictions.of_label)[:count],
        confidently_wrong=sorted(wrong, key=lambda place: max(predictions.probabilities[place]), reverse=True)[:count],
    )


def trial_look(predictions: Predictions, *, study: str, trial: int) -> TrialLook:
    """Return the error analysis of a trial's predictions."""
    chosen = choose(predictions)
    return TrialLook(
        study=study,
        trial=trial,
        model=predictions.model,
        n_samples=len(predictions.ids),
        n_wrong=sum(map(predictions.is_wrong, range(len(predictions.ids)))),
        best=[example(predictions, place) for place in chosen.best],
        worst=[example(predictions, place) for place in chosen.worst],
        confidently_wrong=[example(predictions, place) for place in chosen.confidently_wrong],
    )


def example(predictions: Predictions, place: int) -> Example:
    """Return the sample at an index."""
    return Example(
        id=predictions.ids[place],
        label=predictions.classes[predictions.labels[place]],
        predicted=predictions.classes[predictions.predicted(place)],
        confidence=max(predictions.probabilities[place]),
        of_label=predictions.of_label(place),
        picture=predictions.pictures.get(place),
    )

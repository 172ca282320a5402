"""What there is to see of predictions, as it crosses the wire; messages of the protocol, and what picks the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from tunefleet.model import Model
from tunefleet.names import Name
from tunefleet.protocol.predictions import Picture, Predictions, SampleId

N_EXAMPLES = 12
"""Of each kind that are shown."""


class Example(Model):
    """One sample, and what a model says of it."""

    id: SampleId
    label: str
    predicted: str
    confidence: float
    """The probability of the class that is predicted."""
    of_label: float
    """The probability of the label."""
    picture: Picture | None = None


class TrialLook(Model):
    """What a trial's model is right about, and what it is wrong about, on the study's probe set."""

    study: Name
    trial: int
    model: Literal["best", "last"]
    """Whether it is the model of the trial's best step, or of its last one."""
    n_samples: int
    n_wrong: int
    best: list[Example]
    """Right, and the surest first."""
    worst: list[Example]
    """Those whose label it holds for the least likely; the least first."""
    confidently_wrong: list[Example]
    """Wrong, and the surest first."""


class Opinion(Model):
    """What one trial says of a sample."""

    trial: int
    predicted: str
    of_label: float
    is_right: bool


class Disagreement(Model):
    """One sample, and what several trials say of it, the best trial first."""

    id: SampleId
    label: str
    picture: Picture | None = None
    opinions: list[Opinion]


class StudyLook(Model):
    """The same samples across trials."""

    study: Name
    trials: list[int]
    """Those that are compared, the best first."""
    n_samples: int
    """How many samples all of them have predicted."""
    best_wrong: list[Disagreement]
    """The best trial is wrong, most others are right; where the most are right first."""
    best_right: list[Disagreement]
    """The best trial is right, most others are wrong; where the most are wrong first."""
    all_wrong: list[Disagreement]
    """Nobody is right; the least likely label first."""
    left_out: list[str] = Field(default_factory=list)
    """A sentence for each trial whose predictions cannot be compared."""


class LabelIssue(Model):
    """A sample whose label may be wrong."""

    id: SampleId
    label: str
    suggested: str
    """What the models hold for the class, which none of them was trained on."""
    margin: float
    """The greatest probability less that of the label."""
    is_suspected: bool
    """Whether confident learning counts it as an error: they are as sure of the other class as of its samples."""
    n_opinions: int
    """How many trials were asked."""
    picture: Picture | None = None


class LabelLook(Model):
    """Samples whose label may be wrong, by what models say that were not trained on them."""

    study: Name
    trials: list[int]
    """Those that were asked."""
    n_samples: int
    n_suspected: int
    rate: float
    """The share of wrong labels that is estimated."""
    issues: list[LabelIssue]
    """The most suspicious first."""
    left_out: list[str] = Field(default_factory=list)
    """A sentence for each trial whose predictions cannot be used."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Places of samples among the ids of some predictions, of each kind."""

    best: Sequence[int]
    worst: Sequence[int]
    confidently_wrong: Sequence[int]


def choose(predictions: Predictions, count: int = N_EXAMPLES) -> Chosen:
    """The samples to show, at most `count` of each kind; of equal ones those that come first."""
    places = range(len(predictions.ids))
    right = [place for place in places if not predictions.is_wrong(place)]
    wrong = [place for place in places if predictions.is_wrong(place)]
    return Chosen(
        best=sorted(right, key=predictions.of_label, reverse=True)[:count],
        worst=sorted(places, key=predictions.of_label)[:count],
        confidently_wrong=sorted(wrong, key=lambda place: max(predictions.probabilities[place]), reverse=True)[:count],
    )


def trial_look(predictions: Predictions, *, study: str, trial: int) -> TrialLook:
    """What there is to see of a trial's predictions."""
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
    """The sample at a place."""
    return Example(
        id=predictions.ids[place],
        label=predictions.classes[predictions.labels[place]],
        predicted=predictions.classes[predictions.predicted(place)],
        confidence=max(predictions.probabilities[place]),
        of_label=predictions.of_label(place),
        picture=predictions.pictures.get(place),
    )

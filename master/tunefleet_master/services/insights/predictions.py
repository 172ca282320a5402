"""Predictions of trials, read from files that workers stored; the content is untrusted and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunefleet.errors import InvalidInput, NotFound
from tunefleet.names import TrialId
from tunefleet.protocol.looks import LabelLook, StudyLook, TrialLook, trial_look
from tunefleet.protocol.predictions import FILE, MAX_BYTES, Predictions
from tunefleet_master.diagnosis.disagreements import compare
from tunefleet_master.diagnosis.label_issues import find_label_issues
from tunefleet_master.diagnosis.trial_predictions import TrialPredictions
from tunefleet_master.storage import artifacts, studies, trial_pages, trials
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Trial

MAX_COMPARED = 8
"""Trials that are compared; the best ones."""
MAX_FOR_LABELS = 40
"""Trials that judge the labels: five folds of the eight best configurations."""
MAX_SEARCHED = 200  # of the best trials, for those with predictions
HINT = (
    "Built-in tasks store them at the end of a trial unless `data.probe` is 0; a function does with "
    "tunefleet_worker.looking.predictions.keep_predictions."
)


@dataclass(frozen=True, slots=True)
class Source:
    """The file of a trial's predictions."""

    study: str
    trial: int
    sha256: str
    size_bytes: int


def of_trial(uow: UnitOfWork, trial_id: TrialId) -> Source:
    """Return the file of a trial's predictions; raises NotFound."""
    trial = trials.get(uow.connection, trial_id)
    found = _sources(uow, [trial])
    if not found:
        raise NotFound(f"trial {trial.number} of study {trial.study!r} has no predictions.", hint=HINT)
    return found[0]


def of_study(uow: UnitOfWork, name: str, *, limit: int) -> list[Source]:
    """Return the files of at most `limit` complete trials of a study, best first, by the first objective.

    Raises:
        NotFound: there is no such study, or none of its trials has predictions.
    """
    study = studies.get(uow.connection, name)
    ranked, _, _ = trial_pages.page(uow.connection, study, trial_pages.best_first(study, limit=MAX_SEARCHED))
    found = _sources(uow, ranked)[:limit]
    if not found:
        raise NotFound(f"no complete trial of study {name!r} has predictions.", hint=HINT)
    return found


def read_trial(blobs: BlobStore, source: Source) -> TrialLook:
    """Read the predictions of a trial, in a few milliseconds.

    Raises:
        NotFound: the file contains no predictions.
    """
    return trial_look(_read(blobs, source), study=source.study, trial=source.trial)


@dataclass(frozen=True, slots=True)
class StudyPredictions:
    """The predictions of trials of a study.

    Attributes:
        study: its name.
        trials: with readable predictions, best first; at least one.
        unreadable: a sentence for each other trial.
    """

    study: str
    trials: Sequence[TrialPredictions]
    unreadable: Sequence[str]

    def comparison(self, *, count: int) -> StudyLook:
        """Return the predictions of the best trials on the same samples; at most MAX_COMPARED trials."""
        found = compare(self.study, self.trials[:MAX_COMPARED], count=count)
        return found.model_copy(update={"left_out": [*self.unreadable, *found.left_out]})

    def label_issues(self, *, count: int) -> LabelLook:
        """Return samples with labels that may be wrong."""
        found = find_label_issues(self.study, self.trials, count=count)
        return found.model_copy(update={"left_out": [*self.unreadable, *found.left_out]})


def _sources(uow: UnitOfWork, chosen: Sequence[Trial]) -> list[Source]:
    found = artifacts.of_trials(uow.connection, [trial.id for trial in chosen], name=FILE)
    return [
        Source(trial.study, trial.number, ref.sha256, ref.size_bytes) for trial in chosen for ref in found[trial.id]
    ]


def read_study(blobs: BlobStore, sources: Sequence[Source]) -> StudyPredictions:
    """Read the predictions of trials of a study; raises NotFound when none can be read."""
    readable: list[TrialPredictions] = []
    unreadable: list[str] = []
    for source in sources:
        try:
            readable.append(TrialPredictions(source.trial, _read(blobs, source)))
        except NotFound as error:
            unreadable.append(error.message)
    if not readable:
        raise NotFound(unreadable[0], hint=HINT)
    return StudyPredictions(sources[0].study, readable, unreadable)


def _read(blobs: BlobStore, source: Source) -> Predictions:
    problem = f"the file {FILE} of trial {source.trial} of study {source.study!r} holds no predictions"
    if source.size_bytes > MAX_BYTES:
        raise NotFound(f"{problem}: it has {source.size_bytes:,} bytes, and at most {MAX_BYTES:,} are read.")
    with blobs.open(source.sha256) as file:
        content = file.read(MAX_BYTES + 1)
    try:
        return Predictions.read(content)
    except InvalidInput as error:
        raise NotFound(f"{problem}: {error.problems[0]}.") from error

"""Predictions of trials: which there are, and what is in them; they are a worker's, and nothing of them is trusted."""

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
"""Trials side by side; the best ones."""
MAX_ASKED = 40
"""Trials about labels: five folds of the eight best configurations."""
N_SEARCHED = 200  # of the best trials, for those that have predictions
HINT = (
    "Built-in tasks store them at the end of a trial unless `data.probe` is 0; a function does with "
    "tunefleet_worker.model_analysis.predictions.keep_predictions."
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the predictions of a trial are."""

    study: str
    trial: int
    sha256: str
    size_bytes: int


def of_trial(uow: UnitOfWork, trial_id: TrialId) -> Source:
    """The predictions of a trial; raises NotFound."""
    trial = trials.get(uow.connection, trial_id)
    found = _sources(uow, [trial])
    if not found:
        raise NotFound(f"trial {trial.number} of study {trial.study!r} has no predictions.", hint=HINT)
    return found[0]


def of_study(uow: UnitOfWork, name: str, *, limit: int) -> list[Source]:
    """The predictions of a study's complete trials, at most `limit`; those of the best ones first.

    With several objectives, the best are those in the first.

    Raises:
        NotFound: there is no such study, or none of its trials has any.
    """
    study = studies.get(uow.connection, name)
    ranked, _, _ = trial_pages.page(uow.connection, study, trial_pages.best_first(study, limit=N_SEARCHED))
    found = _sources(uow, ranked)[:limit]
    if not found:
        raise NotFound(f"no complete trial of study {name!r} has predictions.", hint=HINT)
    return found


def look_at_trial(blobs: BlobStore, source: Source) -> TrialLook:
    """What is in them; it reads a file, and takes milliseconds.

    Raises:
        NotFound: what the trial has stored by this name are no predictions.
    """
    return trial_look(_read(blobs, source), study=source.study, trial=source.trial)


@dataclass(frozen=True, slots=True)
class Heard:
    """What trials of a study say, the best trial first; there is one at least.

    Attributes:
        study: its name.
        witnesses: those whose predictions can be read.
        unreadable: a sentence for each of the others.
    """

    study: str
    witnesses: Sequence[TrialPredictions]
    unreadable: Sequence[str]

    def compared(self, *, count: int) -> StudyLook:
        """The same samples across the best trials, at most MAX_COMPARED."""
        found = compare(self.study, self.witnesses[:MAX_COMPARED], count=count)
        return found.model_copy(update={"left_out": [*self.unreadable, *found.left_out]})

    def suspected(self, *, count: int) -> LabelLook:
        """Samples whose labels may be wrong."""
        found = find_label_issues(self.study, self.witnesses, count=count)
        return found.model_copy(update={"left_out": [*self.unreadable, *found.left_out]})


def _sources(uow: UnitOfWork, chosen: Sequence[Trial]) -> list[Source]:
    found = artifacts.of_trials(uow.connection, [trial.id for trial in chosen], name=FILE)
    return [
        Source(trial.study, trial.number, ref.sha256, ref.size_bytes) for trial in chosen for ref in found[trial.id]
    ]


def hear(blobs: BlobStore, sources: Sequence[Source]) -> Heard:
    """Read the files of some trials of a study; raises NotFound when none can be read."""
    witnesses: list[TrialPredictions] = []
    unreadable: list[str] = []
    for source in sources:
        try:
            witnesses.append(TrialPredictions(source.trial, _read(blobs, source)))
        except NotFound as error:
            unreadable.append(error.message)
    if not witnesses:
        raise NotFound(unreadable[0], hint=HINT)
    return Heard(sources[0].study, witnesses, unreadable)


def _read(blobs: BlobStore, source: Source) -> Predictions:
    told = f"the file {FILE} of trial {source.trial} of study {source.study!r} holds no predictions"
    if source.size_bytes > MAX_BYTES:
        raise NotFound(f"{told}: it has {source.size_bytes:,} bytes, and at most {MAX_BYTES:,} are read.")
    with blobs.open(source.sha256) as file:
        content = file.read(MAX_BYTES + 1)
    try:
        return Predictions.read(content)
    except InvalidInput as error:
        raise NotFound(f"{told}: {error.problems[0]}.") from error

"""What clients were promised, from their journals, against what the database holds."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from tunefleet.client.journal import Entry
from tunefleet.names import TrialId
from tunefleet.protocol import EndResponse, Report, TrialState
from tunefleet_master.storage import audit
from tunefleet_master.storage.segments import CHECKPOINT

_WRITE = re.compile(r"/trials/(\d+)/(reports|complete|fail|release|artifacts/(.+))")
_STUDY = re.compile(r"/studies/([^/]+)")
_ENDS = frozenset({"complete", "fail", "release"})
_CHUNK = 200  # trials that are compared at a time, so that a long journal needs little memory for what is stored


@dataclass(frozen=True, slots=True)
class Write:
    """An acknowledged report, file, heartbeat or end."""

    what: str
    sent_s: float
    clock: str
    answer: Any = None


@dataclass
class AcknowledgedAttempt:
    """What was acknowledged of one attempt.

    Attributes:
        workers: that it was given to; more than one is one too many.
        given_s: when it was given, by the clock that saw it; the earliest answer.
        reports: by step, the one with the highest number.
        files: the hashes that were stored under each name.
        writes: all of its writes.
    """

    workers: set[str] = field(default_factory=set)
    given_s: dict[str, float] = field(default_factory=dict)
    reports: dict[int, Report] = field(default_factory=dict)
    files: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    writes: list[Write] = field(default_factory=list)


@dataclass
class AcknowledgedTrial:
    """What was acknowledged of one trial; `names` are its study and number, as they were told."""

    names: set[tuple[str, int]] = field(default_factory=set)
    attempts: dict[int, AcknowledgedAttempt] = field(default_factory=lambda: defaultdict(AcknowledgedAttempt))


@dataclass
class AcknowledgedWrites:
    """All that the entries of some journals promise.

    Attributes:
        studies: that were submitted.
        deleted: that were removed; of these nothing is promised.
    """

    n_entries: int = 0
    studies: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    trials: dict[TrialId, AcknowledgedTrial] = field(default_factory=lambda: defaultdict(AcknowledgedTrial))

    def take(self, entries: Iterable[Entry]) -> None:
        """Add what these entries promise."""
        for entry in entries:
            self.n_entries += 1
            if match := _WRITE.fullmatch(entry.path):
                self._take_write(entry, TrialId(int(match[1])), match[2].partition("/")[0], name=match[3])
            elif entry.path == "/claims":
                self._take_claim(entry)
            elif entry.path == "/heartbeats":
                self._take_beat(entry)
            elif entry.path == "/studies":
                self.studies.add(entry.answer["name"])
            elif entry.method == "DELETE" and (match := _STUDY.fullmatch(entry.path)):
                self.deleted.add(match[1])

    def _take_claim(self, entry: Entry) -> None:
        for lease in entry.answer["leases"]:
            trial = self.trials[TrialId(lease["trial_id"])]
            trial.names.add((lease["study"], lease["number"]))
            attempt = trial.attempts[lease["attempt"]]
            attempt.workers.add(entry.request["worker"])
            attempt.given_s[entry.clock] = min(entry.answered_s, attempt.given_s.get(entry.clock, entry.answered_s))

    def _take_beat(self, entry: Entry) -> None:
        # The answer names trials: of two attempts of one that a worker delivers and runs, it is about the newer one.
        newest: dict[int, int] = {}
        for lease in entry.request.get("leases", ()):
            newest[lease["trial_id"]] = max(lease["attempt"], newest.get(lease["trial_id"], 0))
        for trial_id, number in newest.items():
            if trial_id not in entry.answer["lost"]:
                attempt = self.trials[TrialId(trial_id)].attempts[number]
                attempt.writes.append(Write("heartbeat", entry.sent_s, entry.clock))

    def _take_write(self, entry: Entry, trial_id: TrialId, what: str, *, name: str | None) -> None:
        attempt = self.trials[trial_id].attempts[int((entry.request or entry.query)["attempt"])]
        attempt.writes.append(Write(what, entry.sent_s, entry.clock, entry.answer))
        if what == "reports":
            for report in map(Report.model_validate, entry.request["reports"]):
                known = attempt.reports.get(report.step)
                if known is None or report.number > known.number:
                    attempt.reports[report.step] = report
        elif name is not None and entry.answer is not None:
            attempt.files[name].add(entry.answer["sha256"])


@dataclass(frozen=True, slots=True)
class Held:
    """What the database holds of some trials."""

    names: Mapping[TrialId, tuple[str, int]]
    thinned: Set[TrialId]
    segments: Set[TrialId]
    """Those that have ended, and whose checkpoints nobody may want any more."""
    attempts: Mapping[tuple[TrialId, int], audit.StoredAttempt]
    reports: Mapping[tuple[TrialId, int, int], tuple[int, Mapping[str, float]]]
    files: Mapping[tuple[TrialId, str], tuple[int, str]]


Check = Callable[[TrialId, AcknowledgedTrial, Held], Iterator[str]]


def compare(connection: Connection, promises: AcknowledgedWrites) -> tuple[list[str], list[str], list[str]]:
    """What is broken: results that were counted twice, writes of old attempts that were accepted, writes that are lost.

    A violation is a sentence that names the study and the trial.
    """
    doubled: list[str] = []
    stale: list[str] = []
    there = {study.name for study in audit.studies(connection)}
    lost = [f"study {name} was acknowledged and is not there" for name in promises.studies - promises.deleted - there]
    for chunk in _chunks(sorted(promises.trials)):
        held = _held(connection, chunk)
        for trial_id in chunk:
            promise = promises.trials[trial_id]
            if promises.deleted and held.names.get(trial_id) not in promise.names:
                continue  # it was removed with its study, and SQLite may have given its id again
            name = _name(trial_id, promise)
            doubled += (f"{name}: {what}" for what in _doubled(trial_id, promise, held))
            stale += (f"{name}: {what}" for what in _stale(trial_id, promise, held))
            lost += (f"{name}: {what}" for what in _lost(trial_id, promise, held))
    return doubled, stale, lost


def _held(connection: Connection, trial_ids: Sequence[TrialId]) -> Held:
    return Held(
        names=audit.trial_names(connection, trial_ids),
        thinned=audit.thinned(connection, trial_ids),
        segments=audit.ended_segments(connection, trial_ids),
        attempts=audit.attempts(connection, trial_ids),
        reports=audit.reports(connection, trial_ids),
        files=audit.files(connection, trial_ids),
    )


def _doubled(trial_id: TrialId, promise: AcknowledgedTrial, held: Held) -> Iterator[str]:
    counted = [
        number
        for number, attempt in sorted(promise.attempts.items())
        if any(write.what == "complete" and write.answer["state"] == TrialState.COMPLETE for write in attempt.writes)
    ]
    if len(counted) > 1:
        yield f"the results of attempts {counted} were all taken"


def _stale(trial_id: TrialId, promise: AcknowledgedTrial, held: Held) -> Iterator[str]:
    for number, attempt in sorted(promise.attempts.items()):
        if len(attempt.workers) > 1:
            yield f"attempt {number} was given to {' and '.join(sorted(attempt.workers))}"
        ended = held.attempts.get((trial_id, number))
        for write in attempt.writes:
            is_repeat = write.what in _ENDS and ended is not None and _is_answer(ended.answer, write.answer)
            if _newer_given_s(promise, number, write.clock) < write.sent_s and not is_repeat:
                yield f"{write.what} of attempt {number} was accepted after a newer attempt had begun"


def _newer_given_s(promise: AcknowledgedTrial, number: int, clock: str) -> float:
    """When a newer attempt was first given, on this clock; infinity when none was."""
    newer = (attempt.given_s for other, attempt in promise.attempts.items() if other > number)
    return min((given_s[clock] for given_s in newer if clock in given_s), default=float("inf"))


def _lost(trial_id: TrialId, promise: AcknowledgedTrial, held: Held) -> Iterator[str]:
    if trial_id not in held.names:
        yield "was acknowledged and is not there"
        return
    for number, attempt in sorted(promise.attempts.items()):
        row = held.attempts.get((trial_id, number))
        if row is None:
            yield f"attempt {number} was acknowledged and is not there"
            continue
        for worker in sorted(attempt.workers - {row.worker}):
            yield f"attempt {number} was given to {worker}, and is {row.worker}'s"
        ends = [write for write in attempt.writes if write.what in _ENDS]
        if not all(_is_answer(row.answer, end.answer) for end in ends):
            yield f"the end of attempt {number} was acknowledged with another answer than is stored"
        for step, report in sorted(attempt.reports.items() if trial_id not in held.thinned else ()):
            if fault := _fault_of_report(report, held.reports.get((trial_id, number, step))):
                yield f"the report of attempt {number} at step {step} was acknowledged and {fault}"
        for file, hashes in _kept_files(attempt, is_ended_segment=trial_id in held.segments):
            of_attempt, sha256 = held.files.get((trial_id, file), (0, ""))
            if of_attempt < number or (of_attempt == number and sha256 not in hashes):
                yield f"the file {file} of attempt {number} was acknowledged and is not there"


def _kept_files(attempt: AcknowledgedAttempt, *, is_ended_segment: bool) -> list[tuple[str, set[str]]]:
    """The files that must be there, by name."""
    return sorted(item for item in attempt.files.items() if not (is_ended_segment and item[0] == CHECKPOINT))


def _fault_of_report(report: Report, stored: tuple[int, Mapping[str, float]] | None) -> str | None:
    if stored is None or stored[0] < report.number:
        return "is not there"
    is_same = stored[0] > report.number or _comparable(stored[1]) == _comparable(report.metrics)
    return None if is_same else "has other metrics"


def _comparable(metrics: Mapping[str, float]) -> dict[str, str]:
    """As text, since NaN is unlike itself."""
    return {name: repr(float(value)) for name, value in metrics.items()}


def _is_answer(stored: str | None, answer: Any) -> bool:
    return stored is not None and EndResponse.model_validate_json(stored) == EndResponse.model_validate(answer)


def _name(trial_id: TrialId, promise: AcknowledgedTrial) -> str:
    return next((f"study {study}, trial {number}" for study, number in promise.names), f"trial {trial_id}")


def _chunks(trial_ids: Sequence[TrialId]) -> Iterator[Sequence[TrialId]]:
    for at in range(0, len(trial_ids), _CHUNK):
        yield trial_ids[at : at + _CHUNK]

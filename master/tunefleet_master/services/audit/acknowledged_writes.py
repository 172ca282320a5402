"""Comparison of acknowledged writes, from the journals of clients, with the database."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
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
_CHUNK = 200  # trials per comparison, which bounds the memory for stored rows


@dataclass(frozen=True, slots=True)
class Write:
    """An acknowledged report, file, heartbeat or end."""

    what: str
    sent_s: float
    clock: str
    answer: Any = None


@dataclass
class AcknowledgedAttempt:
    """The acknowledged writes of one attempt.

    Attributes:
        workers: that claimed it; more than one is a violation.
        given_s: the time of the earliest claim answer, by clock.
        reports: the report with the highest number, by step.
        files: the acknowledged hashes, by file name.
        writes: all of its writes.
    """

    workers: set[str] = field(default_factory=set)
    given_s: dict[str, float] = field(default_factory=dict)
    reports: dict[int, Report] = field(default_factory=dict)
    files: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    writes: list[Write] = field(default_factory=list)


@dataclass
class AcknowledgedTrial:
    """The acknowledged writes of one trial; `names` are its study and number in claim answers."""

    names: set[tuple[str, int]] = field(default_factory=set)
    attempts: dict[int, AcknowledgedAttempt] = field(default_factory=lambda: defaultdict(AcknowledgedAttempt))


@dataclass
class AcknowledgedWrites:
    """The acknowledged writes of some journals.

    Attributes:
        studies: submitted studies.
        deleted: deleted studies; the database need not contain them.
    """

    n_entries: int = 0
    studies: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    trials: dict[TrialId, AcknowledgedTrial] = field(default_factory=lambda: defaultdict(AcknowledgedTrial))

    def add(self, entries: Iterable[Entry]) -> None:
        """Add the writes of journal entries."""
        for entry in entries:
            self.n_entries += 1
            if match := _WRITE.fullmatch(entry.path):
                self._add_write(entry, TrialId(int(match[1])), match[2].partition("/")[0], name=match[3])
            elif entry.path == "/claims":
                self._add_claim(entry)
            elif entry.path == "/heartbeats":
                self._add_heartbeat(entry)
            elif entry.path == "/studies":
                self.studies.add(entry.answer["name"])
            elif entry.method == "DELETE" and (match := _STUDY.fullmatch(entry.path)):
                self.deleted.add(match[1])

    def _add_claim(self, entry: Entry) -> None:
        for lease in entry.answer["leases"]:
            trial = self.trials[TrialId(lease["trial_id"])]
            trial.names.add((lease["study"], lease["number"]))
            attempt = trial.attempts[lease["attempt"]]
            attempt.workers.add(entry.request["worker"])
            attempt.given_s[entry.clock] = min(entry.answered_s, attempt.given_s.get(entry.clock, entry.answered_s))

    def _add_heartbeat(self, entry: Entry) -> None:
        # The answer names trials: of two attempts of one trial in a heartbeat, it means the newer one.
        newest: dict[int, int] = {}
        for lease in entry.request.get("leases", ()):
            newest[lease["trial_id"]] = max(lease["attempt"], newest.get(lease["trial_id"], 0))
        for trial_id, number in newest.items():
            if trial_id not in entry.answer["lost"]:
                attempt = self.trials[TrialId(trial_id)].attempts[number]
                attempt.writes.append(Write("heartbeat", entry.sent_s, entry.clock))

    def _add_write(self, entry: Entry, trial_id: TrialId, what: str, *, name: str | None) -> None:
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
class StoredTrials:
    """The rows of some trials in the database."""

    names: Mapping[TrialId, tuple[str, int]]
    thinned: Set[TrialId]
    segments: Set[TrialId]
    """Ended segments of populations; their checkpoints may have been deleted."""
    attempts: Mapping[tuple[TrialId, int], audit.StoredAttempt]
    reports: Mapping[tuple[TrialId, int, int], tuple[int, Mapping[str, float]]]
    files: Mapping[tuple[TrialId, str], tuple[int, str]]


def compare(connection: Connection, acknowledged: AcknowledgedWrites) -> tuple[list[str], list[str], list[str]]:
    """Return results that were counted twice, accepted writes of stale attempts, and lost writes.

    Each violation is a sentence that names the study and the trial.
    """
    doubled: list[str] = []
    stale: list[str] = []
    existing = {study.name for study in audit.studies(connection)}
    missing = acknowledged.studies - acknowledged.deleted - existing
    lost = [f"study {name} was acknowledged and is missing" for name in missing]
    for chunk in _chunks(sorted(acknowledged.trials)):
        stored = _stored(connection, chunk)
        for trial_id in chunk:
            writes = acknowledged.trials[trial_id]
            if acknowledged.deleted and stored.names.get(trial_id) not in writes.names:
                continue  # it was deleted with its study, and SQLite may have reused its id
            name = _name(trial_id, writes)
            doubled += (f"{name}: {what}" for what in _doubled(writes))
            stale += (f"{name}: {what}" for what in _stale(trial_id, writes, stored))
            lost += (f"{name}: {what}" for what in _lost(trial_id, writes, stored))
    return doubled, stale, lost


def _stored(connection: Connection, trial_ids: Sequence[TrialId]) -> StoredTrials:
    return StoredTrials(
        names=audit.trial_names(connection, trial_ids),
        thinned=audit.thinned(connection, trial_ids),
        segments=audit.ended_segments(connection, trial_ids),
        attempts=audit.attempts(connection, trial_ids),
        reports=audit.reports(connection, trial_ids),
        files=audit.files(connection, trial_ids),
    )


def _doubled(acknowledged: AcknowledgedTrial) -> Iterator[str]:
    counted = [
        number
        for number, attempt in sorted(acknowledged.attempts.items())
        if any(write.what == "complete" and write.answer["state"] == TrialState.COMPLETE for write in attempt.writes)
    ]
    if len(counted) > 1:
        yield f"the results of attempts {counted} were all accepted"


def _stale(trial_id: TrialId, acknowledged: AcknowledgedTrial, stored: StoredTrials) -> Iterator[str]:
    for number, attempt in sorted(acknowledged.attempts.items()):
        if len(attempt.workers) > 1:
            yield f"attempt {number} was given to {' and '.join(sorted(attempt.workers))}"
        ended = stored.attempts.get((trial_id, number))
        for write in attempt.writes:
            is_repeat = write.what in _ENDS and ended is not None and _is_answer(ended.answer, write.answer)
            if _newer_given_s(acknowledged, number, write.clock) < write.sent_s and not is_repeat:
                yield f"{write.what} of attempt {number} was accepted after a newer attempt had begun"


def _newer_given_s(acknowledged: AcknowledgedTrial, number: int, clock: str) -> float:
    """Return the time of the first claim of a newer attempt, on this clock; infinity for none."""
    newer = (attempt.given_s for other, attempt in acknowledged.attempts.items() if other > number)
    return min((given_s[clock] for given_s in newer if clock in given_s), default=float("inf"))


def _lost(trial_id: TrialId, acknowledged: AcknowledgedTrial, stored: StoredTrials) -> Iterator[str]:
    if trial_id not in stored.names:
        yield "was acknowledged and is missing"
        return
    for number, attempt in sorted(acknowledged.attempts.items()):
        row = stored.attempts.get((trial_id, number))
        if row is None:
            yield f"attempt {number} was acknowledged and is missing"
            continue
        for worker in sorted(attempt.workers - {row.worker}):
            yield f"attempt {number} was given to {worker}, and is {row.worker}'s"
        ends = [write for write in attempt.writes if write.what in _ENDS]
        if not all(_is_answer(row.answer, end.answer) for end in ends):
            yield f"the end of attempt {number} was acknowledged with another answer than is stored"
        for step, report in sorted(attempt.reports.items() if trial_id not in stored.thinned else ()):
            if fault := _fault_of_report(report, stored.reports.get((trial_id, number, step))):
                yield f"the report of attempt {number} at step {step} was acknowledged and {fault}"
        for file, hashes in _files_to_find(attempt, is_ended_segment=trial_id in stored.segments):
            of_attempt, sha256 = stored.files.get((trial_id, file), (0, ""))
            if of_attempt < number or (of_attempt == number and sha256 not in hashes):
                yield f"the file {file} of attempt {number} was acknowledged and is missing"


def _files_to_find(attempt: AcknowledgedAttempt, *, is_ended_segment: bool) -> list[tuple[str, set[str]]]:
    """Return the files that must exist, by name."""
    return sorted(item for item in attempt.files.items() if not (is_ended_segment and item[0] == CHECKPOINT))


def _fault_of_report(report: Report, stored: tuple[int, Mapping[str, float]] | None) -> str | None:
    if stored is None or stored[0] < report.number:
        return "is missing"
    is_same = stored[0] > report.number or _comparable(stored[1]) == _comparable(report.metrics)
    return None if is_same else "has other metrics"


def _comparable(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the metrics as text, since NaN does not equal itself."""
    return {name: repr(float(value)) for name, value in metrics.items()}


def _is_answer(stored: str | None, answer: Any) -> bool:
    return stored is not None and EndResponse.model_validate_json(stored) == EndResponse.model_validate(answer)


def _name(trial_id: TrialId, acknowledged: AcknowledgedTrial) -> str:
    return next((f"study {study}, trial {number}" for study, number in acknowledged.names), f"trial {trial_id}")


def _chunks(trial_ids: Sequence[TrialId]) -> Iterator[Sequence[TrialId]]:
    for at in range(0, len(trial_ids), _CHUNK):
        yield trial_ids[at : at + _CHUNK]

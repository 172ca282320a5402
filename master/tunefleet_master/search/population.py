"""The progress of a population's members, and the checkpoints that they may still need.

Notation:
    generation   of a trial: the number of checkpoints between it and a trial that started from scratch
    rank         of a trial: its position among all that completed the same generation, the best first
    enough       the number of trials that must complete a generation before they are compared
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tunefleet_master.search.history import History, Outcome
from tunefleet_master.search.segment import Segment

SHARE = 0.2  # of the compared trials: the share of the worst that is replaced, by copies of an equal share of the best
MIN_COMPARED = 3  # with fewer, the best may well be the second worst
MAX_FAILURES = 5  # of a member in a row, after which it is given up: configurations near it cannot be trained


@dataclass(frozen=True, slots=True)
class Plan:
    """The schedule of a population.

    Attributes:
        size: the number of members.
        interval: the number of steps between comparisons.
        steps: the number of steps that each member runs in all.
    """

    size: int = 8
    interval: int = 1
    steps: int = 10

    @property
    def n_generations(self) -> int:
        """The number of segments of a member."""
        return math.ceil(self.steps / self.interval)

    @property
    def n_enough(self) -> int:
        """The number of trials that are enough to compare: half of the members."""
        return max(MIN_COMPARED, math.ceil(self.size / 2))

    def until(self, generation: int) -> int:
        """Return the number of steps run after a generation."""
        return min((generation + 1) * self.interval, self.steps)


@dataclass(frozen=True, slots=True)
class Record:
    """A trial in its population; `value` is minimised, and `ended` orders trials by their end."""

    number: int
    segment: Segment
    outcome: Outcome
    value: float = math.nan
    ended: int = -1


@dataclass
class _Member:
    trials: list[Record] = field(default_factory=list)

    @property
    def newest(self) -> Record | None:
        return self.trials[-1] if self.trials else None

    @property
    def n_failures(self) -> int:
        """The number of failed trials in a row, up to the newest."""
        n = 0
        for trial in reversed(self.trials):
            if trial.outcome in (Outcome.COMPLETE, Outcome.PENDING):
                break
            n += 1
        return n


class Population:
    """The members, built from all trials of a study in the order of their numbers."""

    def __init__(self, plan: Plan, records: Iterable[Record]) -> None:
        self.plan = plan
        self._trials: dict[int, Record] = {}
        self._generations: dict[int, int] = {}
        self._members = [_Member() for _ in range(plan.size)]
        self._completed: list[list[Record]] = [[] for _ in range(plan.n_generations)]
        for record in records:
            self._add(record)
        for completed in self._completed:
            completed.sort(key=lambda trial: (trial.value, trial.number))

    @classmethod
    def of(cls, plan: Plan, history: History) -> Population:
        """Return the population of a history."""
        return cls(plan, _records(history))

    @property
    def is_done(self) -> bool:
        """True if no member continues: each has run all steps or was given up."""
        return all(self._is_over(member) for member in self._members)

    def waiting_members(self) -> list[int]:
        """Return the members that wait for their next segment, the longest wait first."""
        waiting = [i for i, member in enumerate(self._members) if not self._is_over(member) and _is_free(member)]
        return sorted(waiting, key=lambda i: (-1 if (newest := self._members[i].newest) is None else newest.ended, i))

    def newest(self, member: int) -> Record | None:
        """Return the member's newest trial; None before its first."""
        return self._members[member].newest

    def generation(self, trial: int) -> int:
        """Return the generation of a trial, from 0."""
        return self._generations[trial]

    def ancestor(self, trial: int, generation: int) -> int:
        """Return the ancestor of a trial in a generation; the trial itself if it belongs to this generation."""
        while self._generations[trial] > generation:
            parent = self._trials[trial].segment.parent
            assert parent is not None  # only generation 0 has none
            trial = parent
        return trial

    def completed(self, generation: int) -> Sequence[Record]:
        """Return the trials that completed a generation, the best first."""
        return self._completed[generation]

    def compared_at(self, generation: int) -> int | None:
        """Return the newest generation up to this one that enough trials have completed; None if there is none."""
        place = bisect_right(self._comparable, generation)
        return self._comparable[place - 1] if place else None

    def needed_checkpoints(self) -> set[int]:
        """Return the trials with a checkpoint that another trial uses, or may use when a member continues."""
        unfinished = [member for member in self._members if not self._is_over(member)]
        earliest = min((self._earliest(member) for member in unfinished), default=self.plan.n_generations)
        # No member starts from the last generation.
        later = {trial.number for of in self._completed[earliest : self.plan.n_generations - 1] for trial in of}
        return later | set(self._parents_in_use())

    def _add(self, record: Record) -> None:
        parent = record.segment.parent
        generation = 0 if parent is None else self._generations[parent] + 1
        self._trials[record.number] = record
        self._generations[record.number] = generation
        self._members[record.segment.member].trials.append(record)
        if record.outcome is Outcome.COMPLETE:
            self._completed[generation].append(record)

    @cached_property
    def _comparable(self) -> list[int]:
        """The generations that enough trials have completed, in order."""
        return [i for i, completed in enumerate(self._completed) if len(completed) >= self.plan.n_enough]

    def _is_over(self, member: _Member) -> bool:
        newest = member.newest
        if newest is None or newest.outcome is Outcome.PENDING:
            return False
        if newest.outcome is Outcome.COMPLETE:
            return self._generations[newest.number] == self.plan.n_generations - 1
        return member.n_failures >= MAX_FAILURES

    def _earliest(self, member: _Member) -> int:
        """Return the earliest generation with checkpoints that a member may still copy."""
        newest = member.newest
        if newest is None:
            return 0
        own = self._generations[newest.number]
        if newest.outcome is not Outcome.COMPLETE:  # it may have to start again from its parent's checkpoint
            own = max(own - 1, 0)
        compared = self.compared_at(own)
        return own if compared is None else compared

    def _parents_in_use(self) -> Iterator[int]:
        """Yield the parents of trials that wait, run or may run again: of a failed trial until its member continues."""
        for member in self._members:
            newest = member.newest
            if newest is not None and newest.outcome is not Outcome.COMPLETE and newest.segment.parent is not None:
                yield newest.segment.parent


def best_of(compared: Sequence[Record]) -> Sequence[Record]:
    """Return the best fifth of trials that completed a generation, the best first; at least one."""
    return compared[: _n_share(compared)]


def replacements(trial: int, compared: Sequence[Record]) -> Sequence[Record]:
    """Return those of the best fifth that may replace a trial among the compared ones; none if it continues.

    A trial of the worst fifth is replaced, unless it equals them.
    """
    worst = next((record for record in compared[-_n_share(compared) :] if record.number == trial), None)
    return [] if worst is None else [record for record in best_of(compared) if record.value < worst.value]


def _n_share(compared: Sequence[Record]) -> int:
    return min(len(compared), max(1, round(SHARE * len(compared))))


def _is_free(member: _Member) -> bool:
    return member.newest is None or member.newest.outcome is not Outcome.PENDING


def _records(history: History) -> Iterator[Record]:
    outcomes, values, ended = history.outcomes, history.values[:, 0], history.ended
    for number, segment in sorted(history.segments.items()):
        outcome = Outcome(int(outcomes[number]))
        if outcome is Outcome.COMPLETE and not math.isfinite(values[number]):
            outcome = Outcome.UNKNOWN
        yield Record(number, segment, outcome, float(values[number]), int(ended[number]))

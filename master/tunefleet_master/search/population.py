"""How far the members of a population have come, and which checkpoints they may still want.

Notation:
    generation   of a trial: how many checkpoints lie between it and a trial that began anew
    rank         of a trial: its place among all that completed the same generation, the best first
    enough       how many trials must have completed a generation before they are compared
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tunefleet_master.search.history import History, Outcome
from tunefleet_master.search.segment import Segment

SHARE = 0.2  # of the trials that are compared: so many at the bottom are replaced, by so many at the top
MIN_COMPARED = 3  # with fewer, the best may well be the worst but one
MAX_FAILURES = 5  # of a member in a row, after which it is given up: nothing near it can be trained


@dataclass(frozen=True, slots=True)
class Plan:
    """How a population is trained.

    Attributes:
        size: how many members it has.
        interval: after how many steps members are compared.
        steps: how many steps each of them runs in all.
    """

    size: int = 8
    interval: int = 1
    steps: int = 10

    @property
    def n_generations(self) -> int:
        """How many segments a member runs."""
        return math.ceil(self.steps / self.interval)

    @property
    def n_enough(self) -> int:
        """How many trials are enough to compare: half of the members."""
        return max(MIN_COMPARED, math.ceil(self.size / 2))

    def until(self, generation: int) -> int:
        """How many steps have been run behind a generation."""
        return min((generation + 1) * self.interval, self.steps)


@dataclass(frozen=True, slots=True)
class Record:
    """A trial as its population sees it; `value` is minimised, and `ended` orders those that ended."""

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
        """How many trials in a row have failed, up to the newest."""
        n = 0
        for trial in reversed(self.trials):
            if trial.outcome in (Outcome.COMPLETE, Outcome.PENDING):
                break
            n += 1
        return n


class Population:
    """The members, made from all trials of a study in the order of their numbers."""

    def __init__(self, plan: Plan, records: Iterable[Record]) -> None:
        self.plan = plan
        self._trials: dict[int, Record] = {}
        self._generations: dict[int, int] = {}
        self._members = [_Member() for _ in range(plan.size)]
        self._completed: list[list[Record]] = [[] for _ in range(plan.n_generations)]
        for record in records:
            self._take(record)
        for completed in self._completed:
            completed.sort(key=lambda trial: (trial.value, trial.number))

    @classmethod
    def of(cls, plan: Plan, history: History) -> Population:
        """The population of a history."""
        return cls(plan, _records(history))

    @property
    def is_done(self) -> bool:
        """Whether no member goes on: each has run all steps, or was given up."""
        return all(self._is_over(member) for member in self._members)

    def turns(self) -> list[int]:
        """The members that wait for their next segment, the one that waits longest first."""
        waiting = [i for i, member in enumerate(self._members) if not self._is_over(member) and _is_free(member)]
        return sorted(waiting, key=lambda i: (-1 if (newest := self._members[i].newest) is None else newest.ended, i))

    def newest(self, member: int) -> Record | None:
        """The member's newest trial; None before its first."""
        return self._members[member].newest

    def generation(self, trial: int) -> int:
        """Of a trial, from 0."""
        return self._generations[trial]

    def ancestor(self, trial: int, generation: int) -> int:
        """The trial of an earlier generation that a trial descends from; itself where it is of this one."""
        while self._generations[trial] > generation:
            parent = self._trials[trial].segment.parent
            assert parent is not None  # only generation 0 has none
            trial = parent
        return trial

    def completed(self, generation: int) -> Sequence[Record]:
        """The trials that completed a generation, the best first."""
        return self._completed[generation]

    def compared_at(self, generation: int) -> int | None:
        """The nearest generation, this one or an earlier one, that enough trials have completed; None without any."""
        place = bisect_right(self._comparable, generation)
        return self._comparable[place - 1] if place else None

    def wanted(self) -> set[int]:
        """The trials whose checkpoints a trial starts from, or may start from when a member has its next turn."""
        unfinished = [member for member in self._members if not self._is_over(member)]
        earliest = min((self._earliest(member) for member in unfinished), default=self.plan.n_generations)
        # A member never starts from the last generation, behind which there is nothing.
        later = {trial.number for of in self._completed[earliest : self.plan.n_generations - 1] for trial in of}
        return later | set(self._parents_in_use())

    def _take(self, record: Record) -> None:
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
        """The earliest generation whose checkpoints a member may copy at one of its turns to come."""
        newest = member.newest
        if newest is None:
            return 0
        own = self._generations[newest.number]
        if newest.outcome is not Outcome.COMPLETE:  # it may have to begin again where its parent ended
            own = max(own - 1, 0)
        compared = self.compared_at(own)
        return own if compared is None else compared

    def _parents_in_use(self) -> Iterator[int]:
        """Of trials that wait, run, or may be run again: a failed one, as long as its member has not gone on."""
        for member in self._members:
            newest = member.newest
            if newest is not None and newest.outcome is not Outcome.COMPLETE and newest.segment.parent is not None:
                yield newest.segment.parent


def best_of(compared: Sequence[Record]) -> Sequence[Record]:
    """The best fifth of trials that completed a generation, the best first; of few trials the best one."""
    return compared[: _n_share(compared)]


def better_than(trial: int, compared: Sequence[Record]) -> Sequence[Record]:
    """Those of the best fifth that take the place of a trial among the compared ones; none where it goes on itself.

    A trial of the worst fifth is replaced, unless it is as good as they are.
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

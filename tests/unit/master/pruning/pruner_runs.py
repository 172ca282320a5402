"""The master's side of pruning, in memory: reports, decisions and recorded events."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.pruner import Action, Decision, Pruner, RungArrival
from tunefleet_master.pruning.registry import pruner_class
from tunefleet_master.pruning.rungs import RungTable

Curve = Sequence[float]
"""A trial's value at each of its steps, minimised."""


@dataclass(frozen=True)
class Event:
    """An event of the table."""

    kind: str
    trial: int
    rung: int = 0
    value: float = 0.0

    def tell(self, table: RungTable) -> None:
        match self.kind:
            case "rung":
                table.record(self.trial, rung=self.rung, value=self.value)
            case "pause":
                table.pause(self.trial)
            case "resume":
                table.resume(self.trial)
            case "complete" | "pruned":
                table.end(self.trial, is_complete=self.kind == "complete")


@dataclass
class PrunerRun:
    """A study with trials that report to a pruner."""

    pruner: Pruner
    steps: int
    table: RungTable = field(init=False)
    events: list[Event] = field(default_factory=list)
    curves: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = self.pruner.new_table()

    def report(self, trial: int, value: float, *, step: int | None = None) -> Decision | None:
        """Record a report, by default of the next step; None if no rung is reached."""
        curve = self.curves.setdefault(trial, [])
        step = len(curve) if step is None else step
        curve.append((step, value))
        rung = self.pruner.rung(step, reached=self.table.reached(trial))
        if rung is None:
            return None
        if self.pruner.compares:
            self._happened(Event("rung", trial, rung, value))
        arrival = RungArrival(trial=trial, rung=rung, value=value, latest=value, curve=tuple(curve))
        decision = self.pruner.decide(self.table, arrival)
        self.messages.append(decision.message)
        if step + 1 >= self.steps:
            self._happened(Event("complete", trial))
        elif decision.action is not Action.CONTINUE:
            self._happened(Event("pause" if decision.action is Action.PAUSE else "pruned", trial))
        return decision

    def run(self, trial: int, curve: Curve) -> Action:
        """Train a trial from its last step until it ends or must not continue."""
        for value in curve[len(self.curves.get(trial, [])) :]:
            decision = self.report(trial, value)
            if decision is not None and decision.action is not Action.CONTINUE:
                return decision.action
        return Action.CONTINUE

    def promote(self, *, is_final: bool = False) -> int | None:
        """Resume the first promotable trial."""
        trial = next(self.pruner.promotable(self.table, is_final=is_final), None)
        if trial is not None:
            self._happened(Event("resume", trial))
        return trial

    def n_run(self, trial: int) -> int:
        """Return the number of steps that a trial has run."""
        return len(self.curves.get(trial, []))

    def _happened(self, event: Event) -> None:
        self.events.append(event)
        event.tell(self.table)


def pruner_of(name: str, *, steps: int | None = 27, sign: float = 1.0, **keys: Any) -> Pruner:
    """Return a pruner with these keys of `pruning`."""
    return pruner_class(name)(Pruning.parse({"pruner": name, **keys}), steps=steps, sign=sign)


def refold(pruner: Pruner, events: Iterable[Event]) -> RungTable:
    """Return the table of a master that has just started and folds the events."""
    table = pruner.new_table()
    for event in events:
        event.tell(table)
    return table


def best_found(pruner: Pruner | None, curve_of: Callable[[int], Curve], *, n_workers: int, work: int) -> float:
    """Return the best value that workers observe within `work` steps of equal duration."""
    steps = len(curve_of(0))
    study = PrunerRun(pruner, steps) if pruner else None
    n_run: dict[int, int] = {}
    busy: list[int | None] = [None] * n_workers
    best = math.inf
    for turn in range(work):
        trial = busy[turn % n_workers]
        if trial is None:
            trial = study.promote() if study else None
            trial = len(n_run) if trial is None else trial
        n_run[trial] = n_run.get(trial, 0) + 1
        value = curve_of(trial)[n_run[trial] - 1]
        best = min(best, value)
        decision = study.report(trial, value) if study else None
        continues = decision is None or decision.action is Action.CONTINUE
        busy[turn % n_workers] = trial if continues and n_run[trial] < steps else None
    return best

"""The master's side of a simulation: a history, a sampler that reads it, and a pruner that stops trials early."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tunefleet.study.space import Configuration
from tunefleet_master.pruning.pruner import Action, Decision, Pruner, RungArrival
from tunefleet_master.search.history import Change, History, Outcome
from tunefleet_master.search.sampler import Sampler
from tunefleet_master.simulation.tuner import Assignment, Directive, Tuner

MAX_EMPTY_POSITIONS = 1_000  # positions in a row without a configuration, after which the sampler counts as exhausted

_DIRECTIVES = {
    Action.CONTINUE: Directive.CONTINUE,
    Action.STOP: Directive.STOP,
    Action.PAUSE: Directive.PAUSE,
}


@dataclass(slots=True)
class _Trial:
    configuration: Configuration
    curve: list[tuple[int, float]] = field(default_factory=list)
    """Step, from 0, and minimised value of each report."""


class SimulatedStudy(Tuner):
    """A study that folds its events as the master does, with one proposal at a time.

    Attributes:
        history: all trials so far; a trial is pending from its proposal on.
    """

    def __init__(
        self, sampler: Sampler, *, pruner: Pruner | None = None, sign: float = 1.0, counts_best: bool = True
    ) -> None:
        """Create a study without trials.

        Args:
            sampler: proposes configurations.
            pruner: stops trials early; None: no trial is stopped.
            sign: -1 if the objective is maximised.
            counts_best: True if a trial's value is the best of its reports, False if the last.
        """
        self.history = History(sampler.space, signs=(sign,))
        self._sampler = sampler
        self._pruner = pruner
        self._table = None if pruner is None else pruner.new_table()
        self._sign = sign
        self._counts_best = counts_best
        self._position = 0
        self._trials: list[_Trial] = []
        self._running: set[int] = set()

    def assign(self, *, may_begin: bool) -> Assignment | None:
        """Return a promoted trial, or else a new one; None also if the sampler has no more."""
        trial = self._promote(is_final=False)
        if trial is None and may_begin:
            trial = self._start_new()
        if trial is None and not self._running:
            trial = self._promote(is_final=True)
        if trial is None:
            return None
        self._running.add(trial)
        return Assignment(trial, self._trials[trial].configuration)

    def report(self, trial: int, step: int, *, value: float) -> Directive:
        """Return the pruner's decision."""
        decision = self._record_report(trial, step, value)
        if decision is None or decision.action is Action.CONTINUE:
            return Directive.CONTINUE
        self._running.remove(trial)
        if decision.action is Action.STOP:
            self._finish(trial, Outcome.PRUNED, step)
        elif self._table is not None:
            self._table.pause(trial)
        return _DIRECTIVES[decision.action]

    def end(self, trial: int, step: int, *, value: float) -> None:
        """End the trial as complete, or as infeasible if its value is not finite."""
        self._record_report(trial, step, value)
        self._running.remove(trial)
        is_finite = math.isfinite(self._value(trial))
        self._finish(trial, Outcome.COMPLETE if is_finite else Outcome.INFEASIBLE, step)

    def _start_new(self) -> int | None:
        for _ in range(MAX_EMPTY_POSITIONS):
            proposals = self._sampler.propose(self._position, 1, history=self.history)
            if not proposals:
                return None
            self._position += 1
            configuration = proposals[0]
            if configuration is not None:
                self.history.fold([Change(len(self._trials), Outcome.PENDING, params=configuration)])
                self._trials.append(_Trial(configuration))
                return len(self._trials) - 1
        return None

    def _promote(self, *, is_final: bool) -> int | None:
        if self._pruner is None or self._table is None:
            return None
        trial = next(self._pruner.promotable(self._table, is_final=is_final), None)
        if trial is not None:
            self._table.resume(trial)
        return trial

    def _record_report(self, trial: int, step: int, value: float) -> Decision | None:
        """Record a report, and return the pruner's decision at a rung; None between rungs."""
        curve = self._trials[trial].curve
        curve.append((step - 1, self._sign * value))
        if self._pruner is None or self._table is None:
            return None
        rung = self._pruner.rung(step - 1, reached=self._table.reached(trial))
        if rung is None:
            return None
        counted = self._value(trial)
        if self._pruner.compares:
            self._table.record(trial, rung=rung, value=counted)
            self.history.fold([Change(trial, Outcome.PENDING, values=(self._sign * counted,), rung=rung)])
        latest = self._sign * value
        arrival = RungArrival(trial=trial, rung=rung, value=counted, latest=latest, curve=curve)
        return self._pruner.decide(self._table, arrival)

    def _value(self, trial: int) -> float:
        """Return the minimised value that the trial would end with now; NaN if it has no number."""
        values = [value for _, value in self._trials[trial].curve]
        numbers = [value for value in values if not math.isnan(value)]
        return values[-1] if not self._counts_best or not numbers else min(numbers)

    def _finish(self, trial: int, outcome: Outcome, step: int) -> None:
        value = self._sign * self._value(trial)
        values = (value,) if math.isfinite(value) else ()
        self.history.fold([Change(trial, outcome, values=values, steps=step)])
        if self._table is not None:
            self._table.end(trial, is_complete=outcome is Outcome.COMPLETE)

"""The port of tuners, which assign trials to free workers in a simulation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum

from tunefleet.study.space import Configuration


class Directive(Enum):
    """The answer to a report."""

    CONTINUE = "continue"
    STOP = "stop"
    """The trial has ended here."""
    PAUSE = "pause"
    """The worker is free; the trial may continue later from this step."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial for a worker: a new one, or one that was paused."""

    trial: int
    configuration: Configuration


class Tuner(ABC):
    """A tuner chooses configurations and learns from their results, one call after the other."""

    @abstractmethod
    def assign(self, *, may_begin: bool) -> Assignment | None:
        """Return the next trial for a free worker: a new one if one may be started, or one that was paused.

        New trials are numbered from 0 without a gap. None: no trial now; the worker asks again as soon as another
        worker has reported.
        """

    def report(self, trial: int, step: int, *, value: float) -> Directive:
        """Record a running trial's value after `step` steps, which are not its last."""
        return Directive.CONTINUE

    @abstractmethod
    def end(self, trial: int, step: int, *, value: float) -> None:
        """Record a trial's value after its last step; NaN if it is not a number."""

"""The port of whoever decides in a simulation what a free worker trains."""

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
    """The worker is free; the trial may be taken up again where it stands."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial for a worker: a new one, or one that was paused."""

    trial: int
    configuration: Configuration


class Tuner(ABC):
    """Chooses configurations and learns from their results, one call after the other."""

    @abstractmethod
    def assign(self, *, may_begin: bool) -> Assignment | None:
        """What a free worker trains next: a new trial, if one may be begun, or one that was paused.

        New trials are numbered from 0 without a gap. None: nothing now; the worker asks again as soon as another one
        has reported.
        """

    def report(self, trial: int, step: int, *, value: float) -> Directive:
        """Take in a running trial's value after so many steps, which are not all."""
        return Directive.CONTINUE

    @abstractmethod
    def end(self, trial: int, step: int, *, value: float) -> None:
        """Take in a trial's value after its last step; NaN where it is no number."""

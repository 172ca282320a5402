"""Segments: the trials of a population's members."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the training of one member of a population, run as a trial.

    Attributes:
        member: the member's index, from 0.
        parent: the number of the trial that it continues from, at its checkpoint; None: it starts from scratch.
        until: the number of steps run at its end, including those of its ancestors.
    """

    member: int
    parent: int | None
    until: int

"""A trial's place in a population: which part of which member's training it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the training of a member of a population; a trial of its own.

    Attributes:
        member: whose, from 0.
        parent: the number of the trial from whose checkpoint it goes on; None: it begins anew.
        until: how many steps have been run when it ends, those of its parent and of the parent's parents included.
    """

    member: int
    parent: int | None
    until: int

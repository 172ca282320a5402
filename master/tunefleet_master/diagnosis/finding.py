"""A finding, the unit of diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue


class Severity(StrEnum):
    """The severity of a finding, the most severe first."""

    BLOCKER = "blocker"
    """Work that runs before this is fixed is wasted."""
    WARNING = "warning"
    """The study loses quality or time."""
    NOTE = "note"
    """Information, or a possible improvement."""

    @property
    def rank(self) -> int:
        """The position in the order of severity, from 0 for the most severe."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """A statement on a study or trial, with its evidence and a remedy.

    Attributes:
        code: the rule that found it; stable, in lower case with underscores.
        severity: its severity.
        sentence: the statement with its numbers, in one sentence.
        remedy: the advice to the user.
        source: the reference for the rule, and the origin of its threshold.
        evidence: the numbers of the sentence; values of the objective are in the user's own sense.
        edit: parameters by name, as a user would write them, that fix the space; None: no edit helps.
    """

    code: str
    severity: Severity
    sentence: str
    remedy: str
    source: str
    evidence: Mapping[str, JsonValue]
    edit: Mapping[str, JsonValue] | None = None


def shown(value: float) -> str:
    """Format a number for a sentence."""
    return f"{value:.3g}"

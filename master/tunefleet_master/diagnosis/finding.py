"""One thing that diagnosis says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue


class Severity(StrEnum):
    """How much a finding matters; the gravest first."""

    BLOCKER = "blocker"
    """What is spent before it is mended is lost."""
    WARNING = "warning"
    """The study loses by it."""
    NOTE = "note"
    """Something to know, or to gain."""

    @property
    def rank(self) -> int:
        """0 for the gravest."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is to be said of a study, why it is believed, and what to do.

    Attributes:
        code: which rule found it; stable, in lower case with underscores.
        severity: how much it matters.
        sentence: what was found, with its numbers, in one sentence.
        remedy: what to do about it.
        source: who says that this matters, and whose the threshold is.
        evidence: the numbers behind the sentence; values of the objective are in the user's own sense.
        edit: parameters as a user would write them, by name, that mend the space; None: no edit does it.
    """

    code: str
    severity: Severity
    sentence: str
    remedy: str
    source: str
    evidence: Mapping[str, JsonValue]
    edit: Mapping[str, JsonValue] | None = None


def shown(value: float) -> str:
    """A number as a sentence has it."""
    return f"{value:.3g}"

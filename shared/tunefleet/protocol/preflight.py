"""The preflight of a study, which checks its pipeline before the budget is spent: orders and reports."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from tunefleet.model import Model
from tunefleet.plain import FreeText
from tunefleet.study.preflight_configurations import MAX_BRANCHES
from tunefleet.study.space import Configuration

PREFLIGHT_NUMBER = -1
"""The number of a preflight. It runs before trial 0 and does not count as a trial."""

Sentence = Annotated[FreeText, StringConstraints(max_length=1_000)]


class PreflightOrder(Model):
    """The checks that a worker runs instead of a trial.

    Each branch is one architecture of the study. Its configurations differ only in the learning rate; one of them has
    to pass.
    """

    samples: int = Field(ge=1)
    updates: int = Field(ge=1)
    branches: list[list[Configuration]] = Field(min_length=1, max_length=MAX_BRANCHES)


class Check(Model):
    """One check and its result."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=50)]
    """The stable name of the check."""
    passed: bool
    blocks: bool = True
    """True: the study is blocked unless the check passes. False: a failed check is only a warning."""
    saw: Sentence
    """The observation, with its numbers."""
    likely: Sentence = ""
    """The likely cause, and where to look for it; empty if the check passed."""


class BranchReport(Model):
    """The checks of one architecture, run on the configuration that came furthest."""

    params: Configuration
    checks: list[Check] = Field(min_length=1, max_length=50)

    @property
    def blockers(self) -> list[Check]:
        """The failed checks that block the study."""
        return [check for check in self.checks if check.blocks and not check.passed]

    @property
    def reasons(self) -> list[Check]:
        """The blockers; `overfit` only if it is the only one, because a pipeline that cannot learn cannot overfit."""
        return [check for check in self.blockers if check.code != "overfit"] or self.blockers

    @property
    def warnings(self) -> list[Check]:
        """The failed checks that do not block the study."""
        return [check for check in self.checks if not check.blocks and not check.passed]


class PreflightReport(Model):
    """The result of a preflight."""

    took_s: float = Field(ge=0)
    branches: list[BranchReport] = Field(min_length=1, max_length=MAX_BRANCHES)

    @property
    def passed(self) -> bool:
        """True if nothing blocks the study."""
        return not any(branch.blockers for branch in self.branches)

    @property
    def finding(self) -> str:
        """The reason that the study is blocked, in one sentence; empty if the preflight passed."""
        failed = [branch for branch in self.branches if branch.blockers]
        if not failed:
            return ""
        check = failed[0].reasons[0]
        many = f" (in {len(failed)} of {len(self.branches)} architectures)" if len(self.branches) > 1 else ""
        likely = f" Likely: {check.likely}." if check.likely else ""
        return f"{check.saw}{many}.{likely}"

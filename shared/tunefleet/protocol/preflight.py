"""The check of a study's pipeline before its budget is spent: what a worker is asked for, and what it found."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from tunefleet.model import Model
from tunefleet.plain import FreeText
from tunefleet.study.preflight_configurations import MAX_BRANCHES
from tunefleet.study.space import Configuration

PREFLIGHT_NUMBER = -1
"""The number of the preflight among a study's trials: it runs before trial 0, and is none of them."""

Sentence = Annotated[FreeText, StringConstraints(max_length=1_000)]


class PreflightOrder(Model):
    """What a worker checks instead of training a trial.

    Each branch is one architecture of the study: its configurations differ in the learning rate alone, and one of them
    has to pass.
    """

    samples: int = Field(ge=1)
    updates: int = Field(ge=1)
    branches: list[list[Configuration]] = Field(min_length=1, max_length=MAX_BRANCHES)


class Check(Model):
    """One thing that was looked at."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=50)]
    """Which check it is; stable."""
    passed: bool
    blocks: bool = True
    """Whether a study whose pipeline does not pass is held; the others are said, and no more."""
    saw: Sentence
    """What was seen, with its numbers."""
    likely: Sentence = ""
    """What is probably wrong, and where to look; empty where it passed."""


class BranchReport(Model):
    """What was found of one architecture, by the configuration that came furthest."""

    params: Configuration
    checks: list[Check] = Field(min_length=1, max_length=50)

    @property
    def blockers(self) -> list[Check]:
        """The checks that hold the study."""
        return [check for check in self.checks if check.blocks and not check.passed]

    @property
    def reasons(self) -> list[Check]:
        """The blockers, without `overfit` beside another: what cannot learn fits nothing."""
        return [check for check in self.blockers if check.code != "overfit"] or self.blockers

    @property
    def warnings(self) -> list[Check]:
        """What did not pass, and holds nothing."""
        return [check for check in self.checks if not check.blocks and not check.passed]


class PreflightReport(Model):
    """What a preflight found."""

    took_s: float = Field(ge=0)
    branches: list[BranchReport] = Field(min_length=1, max_length=MAX_BRANCHES)

    @property
    def passed(self) -> bool:
        """Whether the budget may be spent."""
        return not any(branch.blockers for branch in self.branches)

    @property
    def finding(self) -> str:
        """What holds the study, in a sentence for a person; empty when it passed."""
        failed = [branch for branch in self.branches if branch.blockers]
        if not failed:
            return ""
        check = failed[0].reasons[0]
        many = f" (in {len(failed)} of {len(self.branches)} architectures)" if len(self.branches) > 1 else ""
        likely = f" Likely: {check.likely}." if check.likely else ""
        return f"{check.saw}{many}.{likely}"

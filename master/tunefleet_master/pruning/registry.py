"""Pruners by name."""

from __future__ import annotations

from functools import cache

from tunefleet.catalogue.pruners import NO_PRUNER
from tunefleet.study.spec import StudySpec
from tunefleet_master.built_in import built_in_class
from tunefleet_master.pruning.pruner import Pruner


@cache
def pruner_class(name: str) -> type[Pruner]:
    """Return the class of a pruner; its module is imported at first use."""
    return built_in_class(__package__, name, base=Pruner)  # type: ignore[type-abstract]


def build(spec: StudySpec, *, steps: int | None = None) -> Pruner | None:
    """Return the pruner of a study; None if it stops no trial early.

    Args:
        spec: `tunefleet.rules.pruning.pruning_problems` found no problem in it.
        steps: those of the stage that the trials belong to; None: those of the study.
    """
    if spec.pruning.pruner == NO_PRUNER:
        return None
    return pruner_class(spec.pruning.pruner)(spec.pruning, steps=steps or spec.steps, sign=spec.objective.sign)

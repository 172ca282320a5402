"""The pruners by name."""

from __future__ import annotations

from tunefleet.study.spec import StudySpec
from tunefleet_master.pruning.asha import AshaPruner
from tunefleet_master.pruning.hyperband import HyperbandPruner
from tunefleet_master.pruning.median import MedianPruner
from tunefleet_master.pruning.patience import PatiencePruner
from tunefleet_master.pruning.percentile import PercentilePruner
from tunefleet_master.pruning.pruner import Pruner
from tunefleet_master.pruning.threshold import ThresholdPruner

PRUNERS: dict[str, type[Pruner]] = {
    pruner.name: pruner
    for pruner in (AshaPruner, HyperbandPruner, MedianPruner, PatiencePruner, PercentilePruner, ThresholdPruner)
}


def build(spec: StudySpec, *, steps: int | None = None) -> Pruner | None:
    """The pruner of a study, None where it stops nothing early.

    Args:
        spec: the study's; `tunefleet.rules.pruning.pruning_problems` has found nothing wrong with it.
        steps: of the stage that the trials belong to; None: those of the study.
    """
    if spec.pruning.pruner == "none":
        return None
    sign = -1.0 if spec.objective.goal == "maximize" else 1.0
    return PRUNERS[spec.pruning.pruner](spec.pruning, steps=steps or spec.steps, sign=sign)

"""Rules for studies with several objectives."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.catalogue.pruners import NO_PRUNER
from tunefleet.catalogue.samplers import SAMPLERS
from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.spec import StudySpec

_NEEDS_AN_ORDER = {
    "stages": "a stage continues from the best trials",
    "finalists": "the best trials are run again",
    "ensemble": "the best models are combined",
    "warm_start": "the results of earlier studies are used by rank",
}
_WHY_NONE = "several objectives do not put trials in one order"


def objective_problems(spec: StudySpec) -> Iterator[Problem]:
    """Yield the parts of a study that its objectives rule out."""
    if not spec.several_objectives:
        yield from _bound_problems(spec)
        return
    if spec.pruning.pruner != NO_PRUNER:
        rule = "compares trials by one value, but this study has several objectives; leave `pruning` out"
        yield Problem("pruning.pruner", rule, shown(spec.pruning.pruner))
    traits = SAMPLERS.get(spec.search.sampler)
    if traits is not None and not traits.takes_several:
        yield Problem("search.sampler", sampler_rule(), shown(spec.search.sampler))
    for key, what in _NEEDS_AN_ORDER.items():
        if getattr(spec, key):
            yield Problem(key, f"cannot be used with several objectives: {what}, but {_WHY_NONE}; leave it out")


def sampler_rule() -> str:
    """Return the message for a sampler that cannot handle several objectives."""
    return (
        "learns from one objective, but this study has several; use gp (few trials), evolution (some hundred trials "
        "or more), or random, sobol or grid (which do not learn)"
    )


def _bound_problems(spec: StudySpec) -> Iterator[Problem]:
    if spec.outcomes:
        rule = (
            "bounds the front of several `objectives`, but this study has one `objective`; give `objectives`, or write "
            "bounds on parameters as `constraints`"
        )
        yield Problem("outcomes", rule, shown(list(spec.outcomes)))

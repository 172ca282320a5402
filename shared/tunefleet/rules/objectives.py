"""What a study of several objectives cannot have: it is judged without a master."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.spec import StudySpec

FIRST_ONLY = ("tpe", "forest", "cmaes", "pbt")
"""Samplers that learn from one objective."""

_NEEDS_AN_ORDER = {
    "stages": "a stage goes on from the best trials",
    "finalists": "the best trials are run again",
    "ensemble": "the best models are put together",
    "warm_start": "the results of earlier studies are taken over by their order",
}
_WHY_NONE = "no value says which trials are best where a study has several objectives"


def objective_problems(spec: StudySpec) -> Iterator[Problem]:
    """What does not go together with the study's objectives."""
    if not spec.several_objectives:
        yield from _bound_problems(spec)
        return
    if spec.pruning.pruner != "none":
        rule = "compares trials by one value, and this study has several objectives; leave `pruning` out"
        yield Problem("pruning.pruner", rule, shown(spec.pruning.pruner))
    if spec.search.sampler in FIRST_ONLY:
        yield Problem("search.sampler", sampler_rule(), shown(spec.search.sampler))
    for key, what in _NEEDS_AN_ORDER.items():
        if getattr(spec, key):
            yield Problem(key, f"is not for several objectives: {what}, and {_WHY_NONE}; leave it out")


def sampler_rule() -> str:
    """What to say of a sampler that cannot take several objectives."""
    return (
        "learns from one objective, and this study has several; take gp (few trials), evolution (some hundred and "
        "more), or random, sobol and grid, which need none"
    )


def _bound_problems(spec: StudySpec) -> Iterator[Problem]:
    if spec.outcomes:
        rule = (
            "bounds the front of several `objectives`, and this study has one `objective`; give `objectives`, or put "
            "what can be said of a configuration beforehand into `constraints`"
        )
        yield Problem("outcomes", rule, shown(list(spec.outcomes)))

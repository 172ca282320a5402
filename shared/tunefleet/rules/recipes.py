"""Rules for the recipes that a study starts from."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.catalogue.recipes import RECIPES, Recipe
from tunefleet.catalogue.samplers import trains_population
from tunefleet.catalogue.tasks import TASKS
from tunefleet.errors import Problem
from tunefleet.model import did_you_mean, shown
from tunefleet.study.recipes import given_by, start_of
from tunefleet.study.space import describe
from tunefleet.study.spec import StudySpec, TaskRun
from tunefleet.study.stages import n_trials, planned

FIELD = "search.start_from"


def recipe_problems(spec: StudySpec) -> Iterator[Problem]:
    """Yield the problems of `search.start_from`."""
    names = spec.search.start_from
    if not names:
        return
    unknown = [name for name in names if name not in RECIPES]
    for name in unknown:
        yield Problem(FIELD, f"there is no such recipe{did_you_mean(name, list(RECIPES))}", shown(name))
    if trains_population(spec.search.sampler):
        rule = "cannot be used with pbt, because its members start all trials; leave it out, or set another sampler"
        yield Problem(FIELD, rule)
    room = planned(spec)[0].trials if planned(spec) else n_trials(spec)
    if room is not None and len(set(names)) > room:
        of = "first stage" if planned(spec) else "budget"
        yield Problem(FIELD, f"has {len(set(names))} recipes, but the {of} has {room} trials; leave some out")
    for name in dict.fromkeys(names):
        if name not in unknown:
            yield from _misfits(RECIPES[name], spec)


def _misfits(recipe: Recipe, spec: StudySpec) -> Iterator[Problem]:
    """Yield the reasons that the recipe is not a configuration of the study's space."""
    given = given_by(recipe, spec.space)
    if not given:
        sets, has = ", ".join(recipe.params), ", ".join(spec.space)
        yield Problem(
            FIELD, f"shares no parameter with the space: it sets {sets}, but the space has {has}", recipe.name
        )
        return
    outside = [name for name, value in given.items() if not spec.space[name].contains(value)]
    for name in outside:
        rule = (
            f"the recipe has {name} = {given[name]!r}, which is not in {describe(spec.space[name])}; widen the range, "
            "or leave the recipe out"
        )
        yield Problem(FIELD, rule, recipe.name)
    wrong = _other_optimizer(recipe, spec)
    if wrong is not None:
        meant = recipe.params["optimizer"]
        rule = (
            f"the recipe is for the optimizer {meant}, but the task trains with {wrong} by default; add "
            f"`optimizer: {{fixed: {meant}}}` to the space"
        )
        yield Problem(FIELD, rule, recipe.name)
    if not outside and not spec.search_space.allows(start_of(recipe, spec).params):
        yield Problem(FIELD, "the recipe breaks a constraint of the study; leave one of the two out", recipe.name)


def _other_optimizer(recipe: Recipe, spec: StudySpec) -> str | None:
    """Return the default optimizer of a built-in task, if it would replace the recipe's; otherwise None."""
    if not isinstance(spec.run, TaskRun) or "optimizer" not in recipe.params or "optimizer" in spec.space:
        return None
    taken = TASKS[spec.run.task].parameters.get("optimizer") if spec.run.task in TASKS else None
    if taken is None or taken.default in (None, recipe.params["optimizer"]):
        return None
    return str(taken.default)

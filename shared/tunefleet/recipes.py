"""Published ways to train, as the first configurations of a study: `search: {start_from: [resnet-imagenet]}`.

A recipe gives values by the names that built-in tasks use; a space that calls them otherwise (`learning_rate`, `wd`) is
understood. Of the space's parameters that it does not mention, each takes the task's default where the task has one in
the range, and the middle of its range otherwise. A value outside of its range is refused and not moved: what would run
were not the recipe any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import JsonValue

from tunefleet.errors import NotFound, Problem
from tunefleet.model import did_you_mean, shown
from tunefleet.parameters import Choice, Fixed, IntRange, Parameter
from tunefleet.published import RECIPES, Recipe
from tunefleet.space import Configuration, describe
from tunefleet.spec import StudySpec, TaskRun
from tunefleet.stages import n_trials, planned
from tunefleet.tasks import TASKS

FIELD = "search.start_from"

ALIASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lr": ("learning_rate", "max_lr", "base_lr"),
        "weight_decay": ("wd", "decay"),
        "batch_size": ("batch", "bs"),
        "optimizer": ("optim", "opt"),
        "momentum": ("mom",),
        "beta1": ("beta_1", "adam_beta1"),
        "beta2": ("beta_2", "adam_beta2"),
        "eps": ("epsilon", "adam_epsilon"),
        "dropout": ("dropout_rate", "drop_rate", "p_dropout"),
        "label_smoothing": ("smoothing",),
        "grad_clip": ("clip", "clip_norm", "max_grad_norm", "gradient_clipping"),
        "warmup_epochs": ("warmup",),
        "normalization": ("normalisation", "norm"),
        "drop_path": ("drop_path_rate", "stochastic_depth"),
        "mixup": ("mixup_alpha",),
        "cutmix": ("cutmix_alpha",),
    }
)
"""What a space may call a recipe's parameter instead; the first that it has counts."""


@dataclass(frozen=True, slots=True)
class Start:
    """A recipe as a configuration of a study.

    Attributes:
        recipe: its name.
        params: the whole configuration.
        given: which of its parameters the recipe says.
    """

    recipe: str
    params: Configuration
    given: tuple[str, ...]


def find(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        NotFound: there is none; it says which was probably meant.
    """
    if name not in RECIPES:
        raise NotFound(f"there is no recipe {name!r}{did_you_mean(name, list(RECIPES))}.")
    return RECIPES[name]


def starts(spec: StudySpec) -> list[Start]:
    """The configurations that a sound study tries before its sampler's own, as asked for, equal ones once each."""
    found: dict[str, Start] = {}
    for name in spec.search.start_from:
        start = _start(RECIPES[name], spec)
        found.setdefault(str(start.params), start)
    return list(found.values())


def recipe_problems(spec: StudySpec) -> Iterator[Problem]:
    """What is wrong with `search.start_from`."""
    names = spec.search.start_from
    if not names:
        return
    unknown = [name for name in names if name not in RECIPES]
    for name in unknown:
        yield Problem(FIELD, f"there is no such recipe{did_you_mean(name, list(RECIPES))}", shown(name))
    if spec.search.sampler == "pbt":
        yield Problem(FIELD, "cannot be had with pbt, whose trials are all of members that it began itself")
    room = planned(spec)[0].trials if planned(spec) else n_trials(spec)
    if room is not None and len(set(names)) > room:
        of = "first stage" if planned(spec) else "budget"
        yield Problem(FIELD, f"has {len(set(names))} recipes, and the {of} has {room} trials; leave some out")
    for name in dict.fromkeys(names):
        if name not in unknown:
            yield from _misfits(RECIPES[name], spec)


def _misfits(recipe: Recipe, spec: StudySpec) -> Iterator[Problem]:
    """Why the recipe is no configuration of the study's space."""
    given = _given(recipe, spec.space)
    if not given:
        says, has = ", ".join(recipe.params), ", ".join(spec.space)
        yield Problem(
            FIELD, f"shares no parameter with the space: it says {says}, and the space has {has}", recipe.name
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
            f"the recipe is for the optimizer {meant}, and the task trains with {wrong} where the space says nothing; "
            f"add `optimizer: {{fixed: {meant}}}`"
        )
        yield Problem(FIELD, rule, recipe.name)
    if not outside and not spec.search_space.allows(_start(recipe, spec).params):
        yield Problem(FIELD, "the recipe breaks a constraint of the study; leave one of them out", recipe.name)


def _other_optimizer(recipe: Recipe, spec: StudySpec) -> str | None:
    """The optimizer that a built-in task would use instead of the recipe's, where the space does not say."""
    if not isinstance(spec.run, TaskRun) or "optimizer" not in recipe.params or "optimizer" in spec.space:
        return None
    taken = TASKS[spec.run.task].parameters.get("optimizer") if spec.run.task in TASKS else None
    if taken is None or taken.default in (None, recipe.params["optimizer"]):
        return None
    return str(taken.default)


def _start(recipe: Recipe, spec: StudySpec) -> Start:
    given = _given(recipe, spec.space)
    params = spec.search_space.around({**_defaults(spec), **given})
    return Start(recipe.name, params, tuple(name for name in given if name in params))


def _given(recipe: Recipe, space: Mapping[str, Parameter]) -> Configuration:
    """The recipe's values by the space's names, as the space writes them."""
    values = {}
    for name, value in recipe.params.items():
        called = next((each for each in (name, *ALIASES.get(name, ())) if each in space), None)
        if called is not None:
            values[called] = _written(value, space[called])
    return values


def _written(value: JsonValue, parameter: Parameter) -> JsonValue:
    """The value as the parameter has it: `SGD` is `sgd`, and 256 among real numbers is 256.0."""
    known: Sequence[JsonValue] = ()
    if isinstance(parameter, Choice):
        known = parameter.choice
    elif isinstance(parameter, Fixed):
        known = (parameter.fixed,)
    elif not isinstance(parameter, IntRange) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return next((each for each in known if _is_same(each, value)), value)


def _is_same(one: JsonValue, other: JsonValue) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    return type(one) is not bool and type(other) is not bool and one == other


def _defaults(spec: StudySpec) -> Configuration:
    """The built-in task's own values, of the parameters whose range has them."""
    if not isinstance(spec.run, TaskRun) or spec.run.task not in TASKS:
        return {}
    taken = TASKS[spec.run.task].parameters
    known = {name: taken[name].default for name in spec.space if name in taken}
    return {name: value for name, value in known.items() if value is not None and spec.space[name].contains(value)}

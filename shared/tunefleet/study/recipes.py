"""Published recipes as the first configurations of a study: `search: {start_from: [resnet-imagenet]}`.

A recipe names its values like the built-in tasks do; common other names in a space (`learning_rate`, `wd`) are
understood. A parameter that the recipe does not set takes the task's default if that is in its range, and otherwise the
middle of its range. A recipe with a value outside the range is refused, because a clipped value is not the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import JsonValue

from tunefleet.catalogue.recipes import RECIPES, Recipe
from tunefleet.catalogue.tasks import TASKS
from tunefleet.study.parameters import Choice, Fixed, IntRange, Parameter
from tunefleet.study.space import Configuration
from tunefleet.study.spec import StudySpec, TaskRun

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
"""Other names for a recipe's parameter; the first one that the space has counts."""


@dataclass(frozen=True, slots=True)
class Start:
    """A recipe as a configuration of a study.

    Attributes:
        recipe: the recipe's name.
        params: the whole configuration.
        given: the parameters that the recipe sets.
    """

    recipe: str
    params: Configuration
    given: tuple[str, ...]


def starts(spec: StudySpec) -> list[Start]:
    """Return the configurations that a valid study runs before its sampler's, in order and without duplicates."""
    found: dict[str, Start] = {}
    for name in spec.search.start_from:
        start = start_of(RECIPES[name], spec)
        found.setdefault(str(start.params), start)
    return list(found.values())


def start_of(recipe: Recipe, spec: StudySpec) -> Start:
    """Return the recipe as a whole configuration of the study's space."""
    given = given_by(recipe, spec.space)
    params = spec.search_space.around({**_defaults(spec), **given})
    return Start(recipe.name, params, tuple(name for name in given if name in params))


def given_by(recipe: Recipe, space: Mapping[str, Parameter]) -> Configuration:
    """Return the recipe's values with the names and the spelling of the space."""
    values = {}
    for name, value in recipe.params.items():
        called = next((each for each in (name, *ALIASES.get(name, ())) if each in space), None)
        if called is not None:
            values[called] = _written(value, space[called])
    return values


def _written(value: JsonValue, parameter: Parameter) -> JsonValue:
    """Return the value as the parameter spells it: `SGD` for `sgd`, 256.0 for 256 in a real range."""
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
    """Return the built-in task's defaults for the parameters that contain them."""
    if not isinstance(spec.run, TaskRun) or spec.run.task not in TASKS:
        return {}
    taken = TASKS[spec.run.task].parameters
    known = {name: taken[name].default for name in spec.space if name in taken}
    return {name: value for name, value in known.items() if value is not None and spec.space[name].contains(value)}

"""What is wrong with a study, judged by its spec alone: by the master at submission, by `tunefleet check` at home."""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tunefleet.catalogue.samplers import SAMPLERS, trains_population, walks_grid
from tunefleet.errors import InvalidInput, NotAvailableYet, Problem
from tunefleet.model import did_you_mean, shown
from tunefleet.names import HASH_PATTERN
from tunefleet.rules.data import data_problems, data_warnings
from tunefleet.rules.folds import fold_problems
from tunefleet.rules.objectives import objective_problems
from tunefleet.rules.population import population_problems
from tunefleet.rules.pruning import pruning_problems
from tunefleet.rules.recipes import recipe_problems
from tunefleet.rules.stages import stage_problems
from tunefleet.rules.tasks import task_problems
from tunefleet.study.preflight_configurations import preflight_configurations
from tunefleet.study.spec import BUNDLE_PREFIX, CommandRun, StudySpec, TaskRun
from tunefleet.study.stages import n_trials

MAX_GRID = 1_000_000  # a grid is walked in order; nobody runs a larger one, and one typed by mistake should not start
N_DRAWS = 1_000  # enough to see a share of 1 %, in some 10 ms
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True, slots=True)
class Review:
    """What was found.

    Attributes:
        problems: rules that the study breaks; it cannot run.
        unavailable: sound parts of the grammar that this version cannot run.
        warnings: it runs, but perhaps not as it was meant.
    """

    problems: tuple[Problem, ...]
    unavailable: tuple[Problem, ...]
    warnings: tuple[str, ...]

    def refuse(self) -> None:
        """Raise InvalidInput when there are problems, NotAvailableYet when only parts are unavailable."""
        if self.problems:
            raise InvalidInput([*self.problems, *self.unavailable])
        if self.unavailable:
            raise NotAvailableYet(
                self.unavailable, hint="Leave these keys out for now; the changelog says what came with which version."
            )


def review(spec: StudySpec) -> Review:
    """Everything that can be said about a study without its code, its data and a worker. Pure."""
    return Review(
        problems=(
            *task_problems(spec),
            *_step_problems(spec),
            *_command_problems(spec),
            *_grid_problems(spec),
            *pruning_problems(spec),
            *stage_problems(spec),
            *_warm_start_problems(spec),
            *recipe_problems(spec),
            *population_problems(spec),
            *objective_problems(spec),
            *data_problems(spec),
            *_preflight_problems(spec),
            *fold_problems(spec),
        ),
        unavailable=tuple(_unavailable(spec)),
        warnings=(*_budget_warnings(spec), *_space_warnings(spec), *data_warnings(spec)),
    )


def wire_problems(spec: StudySpec) -> list[Problem]:
    """What only a master asks: code has come as a bundle, since a folder's name means nothing on another machine."""
    code = getattr(spec.run, "code", None)
    if code is None or re.fullmatch(BUNDLE_PREFIX + HASH_PATTERN.strip("^$"), code):
        return []
    rule = (
        f"must be '{BUNDLE_PREFIX}' and the hash of an uploaded bundle; "
        "`tunefleet submit` and Client.submit upload a folder by themselves"
    )
    return [Problem("run.code", rule, shown(code))]


def _step_problems(spec: StudySpec) -> Iterator[Problem]:
    if isinstance(spec.run, TaskRun) and spec.steps is None and not spec.stages:
        yield Problem("steps", "is required by a built-in task: how many epochs a trial trains, such as `steps: 20`")


def _command_problems(spec: StudySpec) -> Iterator[Problem]:
    if not isinstance(spec.run, CommandRun):
        return
    try:
        words = shlex.split(spec.run.command)
    except ValueError as error:
        yield Problem("run.command", f"cannot be split into words: {str(error).lower()}", shown(spec.run.command))
        return
    if not words:
        yield Problem("run.command", "is empty")
    for word in words:
        yield from _word_problems(word, spec)


def _word_problems(word: str, spec: StudySpec) -> Iterator[Problem]:
    for name in _PLACEHOLDER.findall(word):
        if name not in spec.space:
            yield Problem(
                "run.command", f"{{{name}}} is no parameter of the space{did_you_mean(name, list(spec.space))}"
            )
        elif word == f"{{{name}}}" and spec.space[name].when is not None:
            rule = (
                f"the word {{{name}}} is left out where {spec.space[name].when!r} is not true, and an option "
                f"before it would take the next word; write --{name}={{{name}}}, which comes and goes as a whole, "
                "or read the parameter from the environment"
            )
            yield Problem("run.command", rule)


def _grid_problems(spec: StudySpec) -> Iterator[Problem]:
    size = spec.search_space.grid_size
    if walks_grid(spec.search.sampler) and size > MAX_GRID:
        rule = (
            f"the grid has {size:,} points, and at most {MAX_GRID:,} are allowed; "
            "set smaller `points`, or use random or sobol"
        )
        yield Problem("search.sampler", rule, shown(spec.search.sampler))


def _warm_start_problems(spec: StudySpec) -> Iterator[Problem]:
    traits = SAMPLERS.get(spec.search.sampler)
    if spec.warm_start and traits is not None and not traits.takes_warm_start:
        rule = (
            f"is for samplers that learn, and the sampler is {spec.search.sampler}; set it to auto, or leave this out"
        )
        yield Problem("warm_start", rule, shown(list(spec.warm_start)))


def _preflight_problems(spec: StudySpec) -> Iterator[Problem]:
    if spec.preflight is None:
        return
    if isinstance(spec.run, CommandRun):
        rule = "looks into the training of built-in tasks and functions, and cannot look into a command; leave it out"
        yield Problem("preflight", rule)
    elif not preflight_configurations(spec):
        yield Problem("preflight", "finds no configuration that the constraints allow; loosen them, or leave it out")


_LATER: tuple[tuple[str, Callable[[StudySpec], bool], str], ...] = (
    ("finalists", lambda spec: spec.finalists is not None, "re-running finalists is not available yet"),
    ("ensemble", lambda spec: spec.ensemble is not None, "ensembles are not available yet"),
)


def _unavailable(spec: StudySpec) -> Iterator[Problem]:
    for field, is_used, rule in _LATER:
        if is_used(spec):
            value: object = spec
            for part in field.split("."):
                value = getattr(value, part)
            yield Problem(field, rule, shown(value) if isinstance(value, str | int) else None)


def _budget_warnings(spec: StudySpec) -> Iterator[str]:
    if trains_population(spec.search.sampler):  # it ends by itself, and its trials may have equal configurations
        return
    trials, is_grid = n_trials(spec), walks_grid(spec.search.sampler)
    size = spec.search_space.grid_size if is_grid else spec.search_space.size
    if trials is None and spec.budget.hours is None and not (is_grid or size):
        yield "budget is not set, so the study runs until it is stopped."
    if trials is None or size is None:
        return
    what = "the grid" if is_grid else "the space"
    if size < trials:
        yield f"{what} has at most {size:,} configurations, so the study ends before its budget of {trials:,} trials."
    elif is_grid and size > trials:
        yield f"the grid has up to {size:,} points, and the budget of {trials:,} trials leaves some of them out."


def _space_warnings(spec: StudySpec) -> Iterator[str]:
    """Conditions that are never true, and constraints that hardly anything satisfies, as far as random draws show."""
    space = spec.search_space
    if not space.constraints and all(parameter.when is None for parameter in spec.space.values()):
        return
    generator = random.Random(0)
    drawn = [space.from_unit({name: generator.random() for name in space.names}) for _ in range(N_DRAWS)]
    seen = {name for configuration in drawn for name in configuration}
    for name, parameter in spec.space.items():
        if name not in seen:
            yield (
                f"space.{name} was active in none of {N_DRAWS:,} random configurations; "
                f"is its condition {parameter.when!r} right?"
            )
    allowed = sum(space.allows(configuration) for configuration in drawn)
    if allowed < N_DRAWS / 100:
        yield (
            f"constraints allowed {allowed} of {N_DRAWS:,} random configurations; so few are slow to find, "
            "or cannot be found at all."
        )

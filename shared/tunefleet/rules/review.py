"""The review of a study by its spec alone, for the master at submission and for `tunefleet check`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tunefleet.errors import InvalidInput, NotAvailableYet, Problem
from tunefleet.rules.budget import budget_warnings
from tunefleet.rules.commands import command_problems
from tunefleet.rules.data import data_problems, data_warnings
from tunefleet.rules.folds import fold_problems
from tunefleet.rules.objectives import objective_problems
from tunefleet.rules.population import population_problems
from tunefleet.rules.preflight import preflight_problems
from tunefleet.rules.pruning import pruning_problems
from tunefleet.rules.recipes import recipe_problems
from tunefleet.rules.search import grid_problems, warm_start_problems
from tunefleet.rules.space import space_warnings
from tunefleet.rules.stages import stage_problems
from tunefleet.rules.tasks import step_problems, task_problems
from tunefleet.rules.unavailable import unavailable_parts
from tunefleet.study.spec import StudySpec

_PROBLEMS: tuple[Callable[[StudySpec], Iterable[Problem]], ...] = (
    task_problems,
    step_problems,
    command_problems,
    grid_problems,
    pruning_problems,
    stage_problems,
    warm_start_problems,
    recipe_problems,
    population_problems,
    objective_problems,
    data_problems,
    preflight_problems,
    fold_problems,
)
_WARNINGS: tuple[Callable[[StudySpec], Iterable[str]], ...] = (budget_warnings, space_warnings, data_warnings)


@dataclass(frozen=True, slots=True)
class Review:
    """The result of a review.

    Attributes:
        problems: rules that the study breaks; it cannot run.
        unavailable: valid parts of the grammar that this version cannot run.
        warnings: likely mistakes in a study that can run.
    """

    problems: tuple[Problem, ...]
    unavailable: tuple[Problem, ...]
    warnings: tuple[str, ...]

    def refuse(self) -> None:
        """Raise InvalidInput if there are problems, or NotAvailableYet if there are only unavailable parts."""
        if self.problems:
            raise InvalidInput([*self.problems, *self.unavailable])
        if self.unavailable:
            raise NotAvailableYet(
                self.unavailable, hint="Leave these keys out for now; the changelog lists the features of each version."
            )


def review(spec: StudySpec) -> Review:
    """Review a study without its code, its data or a worker. Pure."""
    return Review(
        problems=tuple(problem for rule in _PROBLEMS for problem in rule(spec)),
        unavailable=tuple(unavailable_parts(spec)),
        warnings=tuple(warning for rule in _WARNINGS for warning in rule(spec)),
    )

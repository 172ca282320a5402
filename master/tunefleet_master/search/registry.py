"""Samplers by name, and the selection that `auto` makes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from tunefleet.catalogue.pruners import PRUNERS
from tunefleet.catalogue.samplers import AUTO, SAMPLERS, SamplerTraits
from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import did_you_mean, shown
from tunefleet.rules.objectives import sampler_rule
from tunefleet.rules.search import MAX_GRID
from tunefleet.study.spec import StudySpec
from tunefleet.study.stages import n_trials
from tunefleet_master.built_in import built_in_class
from tunefleet_master.search.plugins import load_plugins
from tunefleet_master.search.sampler import Sampler

# `auto` takes `gp` up to here: its proposals take a fraction of a second, and it needs the fewest trials.
MAX_GP_PARAMETERS, MAX_GP_TRIALS = 50, 1_000
# Early stopping allows many trials, most of them known by rank only. `tpe` finds better configurations than `gp` from
# them, at a tenth of the cost (docs/performance.md).
MAX_GP_STOPPED = 100


def names() -> tuple[str, ...]:
    """Return the names of all samplers: the built-in ones, then the plugins."""
    return (*SAMPLERS, *load_plugins())


@cache
def sampler_class(name: str) -> type[Sampler]:
    """Return the class of a sampler; its module is imported at first use.

    Raises:
        KeyError: there is no such sampler.
    """
    return built_in_class(__package__, name, base=Sampler) if name in SAMPLERS else load_plugins()[name]  # type: ignore[type-abstract]


def traits(name: str) -> SamplerTraits:
    """Return the capabilities of a sampler: a row of the catalogue, or the class attributes of a plugin.

    Raises:
        KeyError: there is no such sampler.
    """
    return SAMPLERS[name] if name in SAMPLERS else load_plugins()[name].traits()


@cache
def learners() -> frozenset[str]:
    """Return the samplers whose proposals depend on results. They are asked when a worker wants a trial."""
    return frozenset(name for name in names() if traits(name).learns)


@cache
def populations() -> frozenset[str]:
    """Return the samplers whose trials continue from each other's checkpoints."""
    return frozenset(name for name in names() if traits(name).trains_population)


def sampler_problems(spec: StudySpec) -> list[Problem]:
    """Return the problems of the study's sampler that depend on the packages installed on this master."""
    name = spec.search.sampler
    if name == AUTO:
        return []
    if name not in names():
        known = [AUTO, *names()]
        rule = f"is not installed beside this master; there are {', '.join(known)}"
        return [Problem("search.sampler", rule + did_you_mean(name, known), shown(name))]
    needed = traits(name).requires
    if needed is not None and find_spec(needed.module) is None:
        rule = f"needs the package {needed.module} beside the master: pip install 'tunefleet[{needed.extra}]'"
        return [Problem("search.sampler", rule, shown(name))]
    if spec.several_objectives and name not in SAMPLERS and not traits(name).takes_several:
        return [Problem("search.sampler", sampler_rule(), shown(name))]  # the shared rules know the built-in ones only
    try:
        build(name, spec)
    except InvalidInput as error:  # it cannot work on this space
        return list(error.problems)
    return []


@dataclass(frozen=True)
class Selection:
    """The selected sampler, and the reason."""

    sampler: str
    reason: str


def select(spec: StudySpec) -> Selection:
    """Return the sampler that the study names; for `auto`, select one by space and budget."""
    if spec.search.sampler != AUTO:
        return Selection(spec.search.sampler, "as the study asks")
    space, budget = spec.search_space, n_trials(spec)
    if space.size is not None and not spec.stages and budget is not None and space.size <= min(budget, MAX_GRID):
        return Selection(
            "grid",
            f"all {space.size} configurations fit into the budget of {budget} trials",
        )
    cheap = "evolution" if spec.several_objectives else "tpe"
    if len(space.names) > MAX_GP_PARAMETERS:
        return Selection(cheap, f"{len(space.names)} parameters are too many for Gaussian processes")
    if budget is not None and budget > MAX_GP_TRIALS:
        return Selection(cheap, f"with {budget} trials, cheap proposals matter more than the very best ones")
    if _stops_at_rungs(spec) and (budget is None or budget > MAX_GP_STOPPED):
        return Selection(cheap, "suits studies of many trials that are mostly stopped early")
    if spec.several_objectives:
        return Selection("gp", "finds a good front in the fewest trials, in spaces and budgets like these")
    return Selection("gp", "finds a good configuration in the fewest trials, in spaces and budgets like these")


def build(name: str, spec: StudySpec) -> Sampler:
    """Return the sampler of a study; `name` is the result of `select`."""
    return sampler_class(name).of(spec)


def _stops_at_rungs(spec: StudySpec) -> bool:
    return spec.pruning.pruner in PRUNERS and PRUNERS[spec.pruning.pruner].has_rungs

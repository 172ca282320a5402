"""The samplers by name, and the choice that `auto` makes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import did_you_mean, shown
from tunefleet.rules.objectives import FIRST_ONLY, sampler_rule
from tunefleet.rules.review import MAX_GRID
from tunefleet.study.spec import StudySpec
from tunefleet.study.stages import n_trials
from tunefleet_master.search.cmaes import CmaesSampler
from tunefleet_master.search.evolution import EvolutionSampler
from tunefleet_master.search.forest import ForestSampler
from tunefleet_master.search.gp import GpSampler
from tunefleet_master.search.grid import GridSampler
from tunefleet_master.search.pbt import PbtSampler
from tunefleet_master.search.plugins import plugins
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.sampler import Sampler
from tunefleet_master.search.sobol import SobolSampler
from tunefleet_master.search.tpe import TpeSampler

SAMPLERS: dict[str, type[Sampler]] = {
    sampler.name: sampler
    for sampler in (
        *(GridSampler, RandomSampler, SobolSampler),
        *(GpSampler, TpeSampler, ForestSampler, EvolutionSampler, CmaesSampler, PbtSampler),
    )
}
SAMPLERS |= plugins()

NEEDS = {"cmaes": "cmaes", "forest": "sklearn"}
"""Packages of the extra `search`, without which the master runs, and these samplers do not."""

LEARNERS = frozenset(name for name, sampler in SAMPLERS.items() if sampler.learns)
"""Those whose proposals depend on results, so that they are asked when somebody wants a trial."""

POPULATIONS = frozenset(name for name, sampler in SAMPLERS.items() if sampler.trains_population)
"""Those whose trials go on from each other's checkpoints."""

# What `auto` leaves to `gp`: up to here its proposals take a fraction of a second, and need the fewest trials.
MAX_GP_PARAMETERS, MAX_GP_TRIALS = 50, 1_000
# Where trials are stopped early they are many, of most of which only a rank is known: `tpe` found more in them than
# `gp` did (docs/performance.md), for a tenth of the cost.
MAX_GP_STOPPED = 100
STOPPING = frozenset({"asha", "hyperband"})


def sampler_problems(spec: StudySpec) -> list[Problem]:
    """What is wrong with the study's sampler, as far as what is installed here can tell."""
    name = spec.search.sampler
    if name == "auto":
        return []
    if name not in SAMPLERS:
        rule = f"is not installed beside this master; there are auto, {', '.join(SAMPLERS)}"
        return [Problem("search.sampler", rule + did_you_mean(name, list(SAMPLERS)), shown(name))]
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        rule = f"needs the package {NEEDS[name]} beside the master: pip install 'tunefleet[search]'"
        return [Problem("search.sampler", rule, shown(name))]
    if spec.several_objectives and not SAMPLERS[name].takes_several and name not in FIRST_ONLY:  # those were told
        return [Problem("search.sampler", sampler_rule(), shown(name))]
    try:
        build(name, spec)
    except InvalidInput as error:  # it cannot work on this space
        return list(error.problems)
    return []


@dataclass(frozen=True)
class Selection:
    """A sampler's name, and why it was taken."""

    sampler: str
    reason: str


def select(spec: StudySpec) -> Selection:
    """The sampler that the study asks for; `auto` picks by space and budget."""
    if spec.search.sampler != "auto":
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
        return Selection(cheap, f"with {budget} trials, cheap proposals are worth more than the very best ones")
    if spec.pruning.pruner in STOPPING and (budget is None or budget > MAX_GP_STOPPED):
        return Selection(cheap, "learns most from many trials of which most are stopped early")
    if spec.several_objectives:
        return Selection("gp", "finds a good front in the fewest trials, in spaces and budgets like these")
    return Selection("gp", "finds a good configuration in the fewest trials, in spaces and budgets like these")


def build(name: str, spec: StudySpec) -> Sampler:
    """The sampler for a study. `name` is one that `select` gave."""
    return SAMPLERS[name].of(spec)

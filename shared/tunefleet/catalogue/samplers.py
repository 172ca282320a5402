"""Built-in samplers and their capabilities, as plain data: a study is checked without the master's packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

AUTO = "auto"
"""The name by which a study leaves the choice to the master."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that is installed with one of Tunefleet's extras only.

    Attributes:
        module: the name to import it by.
        extra: the extra that installs it.
    """

    module: str
    extra: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerTraits:
    """The capabilities of a sampler.

    Attributes:
        spaces: the spaces that it searches, as docs/search.md has them.
        purpose: the studies that it is for, as docs/search.md has them.
        learns: whether its proposals depend on results. A sampler that does not learn is asked far ahead.
        takes_several: whether it takes several objectives: it learns from all of them, or from none.
        takes_choices: whether it takes parameters without an order.
        takes_conditions: whether it takes parameters with `when`.
        trains_population: whether its trials are segments that continue from each other's checkpoints.
        walks_grid: whether it proposes each point of the grid once, in order, and then ends.
        requires: the package that it does not run without.
        reads: the keys of `search` that only some samplers read, and this one does.
    """

    spaces: str
    purpose: str
    learns: bool = False
    takes_several: bool = True
    takes_choices: bool = True
    takes_conditions: bool = True
    trains_population: bool = False
    walks_grid: bool = False
    requires: Requirement | None = None
    reads: tuple[str, ...] = ()

    @property
    def takes_warm_start(self) -> bool:
        """True if the results of earlier studies change its proposals."""
        return self.learns and not self.trains_population


SAMPLERS: Mapping[str, SamplerTraits] = MappingProxyType(
    {
        "grid": SamplerTraits(
            spaces="spaces with a finite grid; real ranges are cut into `points`",
            purpose="a few configurations, all of them tried",
            walks_grid=True,
        ),
        "random": SamplerTraits(
            spaces="everything",
            purpose="a baseline; many workers; very noisy objectives",
        ),
        "sobol": SamplerTraits(spaces="everything", purpose="even coverage of the space"),
        "tpe": SamplerTraits(
            spaces="everything, conditions included",
            purpose="long studies, many choices and conditions; proposals cost some milliseconds",
            learns=True,
            takes_several=False,
        ),
        "gp": SamplerTraits(
            spaces="everything; up to some dozen parameters",
            purpose="the fewest trials to a good configuration: up to some hundred trials of more than half a "
            "second each",
            learns=True,
        ),
        "forest": SamplerTraits(
            spaces="everything, conditions included",
            purpose="many conditions and choices, and some hundred trials",
            learns=True,
            takes_several=False,
            requires=Requirement("sklearn", extra="search"),
        ),
        "cmaes": SamplerTraits(
            spaces="real and integer ranges",
            purpose="long studies over ranges only, some hundred trials and more",
            learns=True,
            takes_several=False,
            takes_choices=False,
            takes_conditions=False,
            requires=Requirement("cmaes", extra="search"),
        ),
        "evolution": SamplerTraits(
            spaces="everything",
            purpose="architectures: choices and conditions, some hundred trials and more",
            learns=True,
        ),
        "pbt": SamplerTraits(
            spaces="ranges and choices that do not shape the weights",
            purpose="schedules: parameters that should change while a model trains",
            learns=True,
            takes_several=False,
            trains_population=True,
            reads=("population", "interval"),
        ),
    }
)
"""By the names that studies use. `tunefleet_master/search/NAME.py` holds the sampler NAME."""

SAMPLER_NAMES = (AUTO, *SAMPLERS)


def walks_grid(name: str) -> bool:
    """Return whether the sampler is a built-in one that walks the grid."""
    return name in SAMPLERS and SAMPLERS[name].walks_grid


def trains_population(name: str) -> bool:
    """Return whether the sampler is a built-in one that trains a population."""
    return name in SAMPLERS and SAMPLERS[name].trains_population

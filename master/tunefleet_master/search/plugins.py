"""Samplers from other packages: the entry points `tunefleet.samplers`.

A package that is installed beside the master names its class in its `pyproject.toml`::

    [project.entry-points."tunefleet.samplers"]
    "mylab.tabu" = "mylab_tunefleet:TabuSampler"

and studies ask for it by that name, which has a dot in it: `search: {sampler: mylab.tabu}`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from tunefleet.study.spec import PLUGIN
from tunefleet_master.search.sampler import Sampler

GROUP = "tunefleet.samplers"

log = logging.getLogger(__name__)


@cache
def load_plugins() -> Mapping[str, type[Sampler]]:
    """Import the samplers of other packages at the first call, and return them by name.

    A sampler that cannot be loaded is left out, and the log gives the reason.
    """
    found: dict[str, type[Sampler]] = {}
    for point in entry_points(group=GROUP):
        try:
            kind = point.load()
            _check(point.name, kind)
        except Exception as error:
            log.error("the sampler %s cannot be used: %s: %s", point.name, type(error).__name__, error)
        else:
            found[point.name] = kind
    return MappingProxyType(found)


def _check(name: str, kind: object) -> None:
    if not (isinstance(kind, type) and issubclass(kind, Sampler)):
        raise TypeError(f"{kind!r} is no subclass of tunefleet_master.search.sampler.Sampler")
    if not PLUGIN.fullmatch(name):
        raise ValueError("its name must have a dot in it, such as mylab.tabu")
    if kind.name != name:
        raise ValueError(f"the class is named {kind.name!r}, and its entry point {name!r}")

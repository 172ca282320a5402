"""Built-in pruners and their capabilities, as plain data: a study is checked without the master's packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

NO_PRUNER = "none"
"""The name by which a study leaves pruning out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunerTraits:
    """The capabilities of a pruner.

    Attributes:
        stops: the trials that it stops: the end of "stops a trial that ...", as docs/study.md has it.
        reads: the keys of `pruning` that it reads. `tunefleet.rules.pruning` checks each key for all its readers.
        has_rungs: whether it spaces rungs between `min` and the last step, so that it must know the last step. Most
            trials end at a rung.
    """

    stops: str
    reads: tuple[str, ...]
    has_rungs: bool = False

    @property
    def can_promote(self) -> bool:
        """True if it can pause trials and resume the best of them later."""
        return "mode" in self.reads


PRUNERS: Mapping[str, PrunerTraits] = MappingProxyType(
    {
        "median": PrunerTraits(
            stops="is worse than the median of the complete trials at the same rung",
            reads=("startup", "min", "interval"),
        ),
        "percentile": PrunerTraits(
            stops="is worse than the best `percentile` percent of the complete trials at the same rung",
            reads=("percentile", "startup", "min", "interval"),
        ),
        "patience": PrunerTraits(stops="has not improved for `patience` steps", reads=("patience", "min_delta", "min")),
        "threshold": PrunerTraits(
            stops="reports a value below `lower` or above `upper`", reads=("lower", "upper", "min")
        ),
        "asha": PrunerTraits(
            stops="is not among the best 1/`eta` of all trials that have reached the same rung; "
            "the rungs are `min`, `min` × `eta`, `min` × `eta`² … steps, up to `max`",
            reads=("mode", "min", "max", "eta"),
            has_rungs=True,
        ),
        "hyperband": PrunerTraits(
            stops="is not among the best 1/`eta` of the trials in its bracket at the same rung; "
            "the first rung is `min` in the bracket with most trials, `min` × `eta` in the next, and so on",
            reads=("mode", "min", "max", "eta"),
            has_rungs=True,
        ),
    }
)
"""By the names that studies use. `tunefleet_master/pruning/NAME.py` holds the pruner NAME."""

PRUNER_NAMES = (NO_PRUNER, *PRUNERS)


def keys_of(pruner: str) -> tuple[str, ...]:
    """Return the keys of `pruning` that the pruner reads."""
    return PRUNERS[pruner].reads if pruner in PRUNERS else ()

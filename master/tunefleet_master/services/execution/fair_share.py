"""The order in which studies get free workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tunefleet_master.storage.values import Study


def next_in_turn(studies: Iterable[Study], n_running: Mapping[int, int]) -> Study:
    """Return the study that gets the next slot: the highest priority, then the fewest running trials, then the oldest.

    Args:
        studies: at least one.
        n_running: running trials by study id; every study has an entry, or the mapping is a Counter.
    """
    return min(studies, key=lambda study: (-study.priority, n_running[study.id], study.id))

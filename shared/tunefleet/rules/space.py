"""Warnings about the search space of a study."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tunefleet.study.spec import StudySpec

N_DRAWS = 1_000  # enough to estimate a share of 1 %, in about 10 ms


def space_warnings(spec: StudySpec) -> Iterator[str]:
    """Draw random configurations, and warn of conditions that are never true and of constraints that rarely hold."""
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
                f"check its condition {parameter.when!r}."
            )
    allowed = sum(space.allows(configuration) for configuration in drawn)
    if allowed < N_DRAWS / 100:
        yield (
            f"constraints allowed {allowed} of {N_DRAWS:,} random configurations; "
            "the sampler will find allowed ones slowly, or not at all."
        )

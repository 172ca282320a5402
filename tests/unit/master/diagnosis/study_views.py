"""Synthetic studies as the input of rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tunefleet.study.spec import StudySpec
from tunefleet_master.diagnosis.study_view import StudyView
from tunefleet_master.search.history import Change, History, Outcome

Loss = Callable[[dict[str, Any]], float]
"""A loss of configurations, minimised; infinity for an infeasible one."""


def spec_of(space: dict[str, Any], *, goal: str = "minimize", sampler: str = "random", **more: Any) -> StudySpec:
    return StudySpec.parse(
        {
            "name": "s",
            "objective": {"metric": "val_loss", "goal": goal},
            "run": {"function": "a:b"},
            "space": space,
            "search": {"sampler": sampler},
            **more,
        }
    )


def random_study_view(spec: StudySpec, loss: Loss, n: int, *, seed: int = 0) -> StudyView:
    """Return a study after n random configurations."""
    generator = np.random.default_rng(seed)
    space = spec.search_space
    points = generator.random((n, len(space.names))).tolist()
    return study_view_of(spec, loss, [space.from_unit(dict(zip(space.names, point, strict=True))) for point in points])


def study_view_of(spec: StudySpec, loss: Loss, configurations: list[dict[str, Any]]) -> StudyView:
    """Return a study after these configurations; a maximised value is minus the loss."""
    sign = 1.0 if spec.objective.goal == "minimize" else -1.0
    history = History(spec.search_space, signs=(sign,))
    for i, params in enumerate(configurations):
        value = loss(params)
        if math.isinf(value):
            history.fold([Change(i, Outcome.INFEASIBLE, params=params)])
        else:
            history.fold([Change(i, Outcome.COMPLETE, params=params, values=(sign * value,), steps=1)])
    return StudyView(history, spec)


def with_edit(spec: StudySpec, edit: Any) -> StudySpec:
    """Return the study with an edit of its space, as a user would write it."""
    written = spec.to_json()
    return StudySpec.parse({**written, "space": {**written["space"], **edit}})  # type: ignore[dict-item]

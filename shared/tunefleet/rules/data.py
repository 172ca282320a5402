"""What a study asks of its data that cannot be had, as far as its spec alone shows; without numpy, for the master."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.spec import StudySpec, TaskRun


def data_problems(spec: StudySpec) -> Iterator[Problem]:
    """Columns that the data of a built-in task does not have."""
    if not isinstance(spec.run, TaskRun):
        return
    for key, column in (("group", spec.data.group), ("time", spec.data.time)):
        if column is not None:
            rule = (
                f"names a column of the data, and no built-in data set has one ({spec.run.options.get('dataset')} has "
                "none); leave it out, or run a function of your own, which gives the columns of its data"
            )
            yield Problem(f"data.{key}", rule, shown(column))


def data_warnings(spec: StudySpec) -> Iterator[str]:
    """A study of one's own code that chooses by what it calls a test."""
    if isinstance(spec.run, TaskRun):  # whose metrics are known
        return
    for objective in spec.objectives:
        if objective.metric.startswith("test"):
            yield (
                f"the objective {objective.metric!r} sounds like the test part, and what is chosen by is a validation "
                "part; set samples aside that no trial reads, and score the chosen model on them once."
            )

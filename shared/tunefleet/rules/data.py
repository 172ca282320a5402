"""Rules for the data of a study."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.spec import StudySpec, TaskRun


def data_problems(spec: StudySpec) -> Iterator[Problem]:
    """Refuse columns that built-in data sets do not have."""
    if not isinstance(spec.run, TaskRun):
        return
    for key, column in (("group", spec.data.group), ("time", spec.data.time)):
        if column is not None:
            rule = (
                f"names a column of the data, but {spec.run.options.get('dataset')} has none, like every built-in data "
                "set; leave it out, or run a function of your own that gives the columns of its data"
            )
            yield Problem(f"data.{key}", rule, shown(column))


def data_warnings(spec: StudySpec) -> Iterator[str]:
    """Warn of an objective that sounds like a test score."""
    if isinstance(spec.run, TaskRun):  # its metrics are known
        return
    for objective in spec.objectives:
        if objective.metric.startswith("test"):
            yield (
                f"the objective {objective.metric!r} sounds like the test part, but a search should choose by a "
                "validation part; set samples aside that no trial reads, and score only the chosen model on them."
            )

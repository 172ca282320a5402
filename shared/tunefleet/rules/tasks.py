"""Rules for studies that run a built-in task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunefleet.catalogue.tasks import TASKS, TaskSignature
from tunefleet.errors import Problem
from tunefleet.model import did_you_mean, shown
from tunefleet.rules.schedules import schedule_problems
from tunefleet.study.parameters import Parameter, extremes
from tunefleet.study.spec import SEALED_TEST, StudySpec, TaskRun
from tunefleet.study.stages import planned


def task_problems(spec: StudySpec) -> list[Problem]:
    """Return every mismatch between a study and its built-in task; empty for a user's own code."""
    if not isinstance(spec.run, TaskRun):
        return []
    signature = TASKS.get(spec.run.task)
    if signature is None:
        return [
            Problem(
                "run.task", f"there is no such task{did_you_mean(spec.run.task, list(TASKS))}", shown(spec.run.task)
            )
        ]
    problems = _misfits(signature, spec, spec.run)
    if problems:  # the schedules of an invalid space would be reported twice
        return problems
    return list(schedule_problems(spec.space, lengths=_lengths(spec)))


def step_problems(spec: StudySpec) -> Iterator[Problem]:
    """Refuse a built-in task without a number of steps."""
    if isinstance(spec.run, TaskRun) and spec.steps is None and not spec.stages:
        yield Problem("steps", "is required by a built-in task: how many epochs a trial trains, such as `steps: 20`")


def _lengths(spec: StudySpec) -> list[int]:
    """Return the steps of a trial in each stage; empty if the study does not set them."""
    return [stage.steps for stage in planned(spec)] or ([] if spec.steps is None else [spec.steps])


def _asked_for(spec: StudySpec) -> dict[str, str]:
    """Return the metrics that the study reads, by field."""
    if not spec.several_objectives:
        return {"objective.metric": spec.objective.metric}
    metrics = {f"objectives.{i}.metric": objective.metric for i, objective in enumerate(spec.objectives)}
    bounded = [name for name in spec.result_metrics if name not in metrics.values()]
    return {**metrics, **{f"outcomes ({name})": name for name in bounded}}


def _misfits(task: TaskSignature, spec: StudySpec, run: TaskRun) -> list[Problem]:
    """Return the options of `run`, the parameters and the metrics that do not fit the task."""
    found = [*_option_problems(task, run.options), *_space_problems(task, spec.space)]
    for field, metric in _asked_for(spec).items():
        if metric not in task.metrics:
            sealed = f"; {SEALED_TEST}" if metric.startswith("test") else ""
            rule = f"the task does not report this metric{did_you_mean(metric, list(task.metrics))}{sealed}"
            found.append(Problem(field, rule, shown(metric)))
    return found


def _option_problems(task: TaskSignature, options: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in options.items():
        option = task.options.get(name)
        if option is None:
            yield Problem(f"run.{name}", f"the task has no such option{did_you_mean(name, list(task.options))}")
        elif not isinstance(value, str):
            yield Problem(f"run.{name}", "must be text", shown(value))
        elif option.choices and value not in option.choices:
            yield Problem(f"run.{name}", f"the task offers {', '.join(option.choices)}", shown(value))
    for name, option in task.options.items():
        if option.is_required and name not in options:
            offer = f"; one of {', '.join(option.choices)}" if option.choices else ""
            yield Problem(f"run.{name}", f"is required by the task{offer}")


def _space_problems(task: TaskSignature, space: Mapping[str, Parameter]) -> Iterator[Problem]:
    for name, parameter in space.items():
        if name not in task.parameters:
            yield Problem(f"space.{name}", f"the task has no such parameter{did_you_mean(name, list(task.parameters))}")
            continue
        for value in extremes(parameter):
            if (rule := task.parameters[name].broken_rule(value)) is not None:
                yield Problem(f"space.{name}", rule, shown(value))
                break
    for name, taken in task.parameters.items():
        if taken.is_required and name not in space:
            yield Problem(f"space.{name}", "is required by the task")
        elif taken.is_required and space[name].when is not None:
            yield Problem(
                f"space.{name}.when",
                "the task requires this parameter in every configuration; leave the condition out",
            )

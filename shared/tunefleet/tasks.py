"""What the built-in tasks take and report, as plain data: a study is judged by it without importing torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from pydantic import JsonValue

from tunefleet.errors import Problem
from tunefleet.model import did_you_mean, shown
from tunefleet.optimizers import IN_BATCHES
from tunefleet.parameters import Parameter, extremes
from tunefleet.schedules import NAMES, schedule_problems
from tunefleet.spec import SEALED_TEST, StudySpec, TaskRun
from tunefleet.stages import planned


@dataclass(frozen=True, slots=True)
class TaskParameter:
    """A parameter that a space may search; it is required when it has no default, unless it is optional."""

    kind: Literal["float", "int", "choice", "flag"]
    default: JsonValue = None
    choices: tuple[str, ...] = ()
    low: float | None = None
    """The least value."""
    above: float | None = None
    """Every value is above it."""
    high: float | None = None
    """The greatest value."""
    below: float | None = None
    """Every value is below it."""
    shapes: bool = False
    """Whether what was trained with one value, weights and moments, does not fit another."""
    optional: bool = False
    """Whether a configuration may lack it although it has no default."""

    @property
    def is_required(self) -> bool:
        """Whether every configuration must have it."""
        return self.default is None and not self.optional

    def broken_rule(self, value: JsonValue) -> str | None:
        """The rule that the value breaks, None when the task takes it."""
        if self.kind == "choice":
            return None if value in self.choices else f"the task offers {', '.join(self.choices)}"
        if self.kind == "flag":
            return None if isinstance(value, bool) else "the task takes true or false here"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "the task takes a number here"
        if self.kind == "int" and not isinstance(value, int):
            return "the task takes whole numbers here; write {int: [low, high]}"
        return self._broken_bound(value)

    def _broken_bound(self, value: float) -> str | None:
        bounds = (
            (self.low, "at least", self.low is not None and value < self.low),
            (self.above, "above", self.above is not None and value <= self.above),
            (self.high, "at most", self.high is not None and value > self.high),
            (self.below, "below", self.below is not None and value >= self.below),
        )
        return next(
            (
                f"the task takes values {words} {bound:g}"
                for bound, words, broken in bounds
                if broken and bound is not None
            ),
            None,
        )


@dataclass(frozen=True, slots=True)
class TaskOption:
    """A key of `run` beside `task`."""

    choices: tuple[str, ...] = ()
    """What it may be; any text when there are none."""
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class TaskSignature:
    """What a task takes and reports."""

    summary: str
    options: Mapping[str, TaskOption]
    parameters: Mapping[str, TaskParameter]
    metrics: tuple[str, ...]
    smallest_classes: Mapping[str, int]
    """By data set: how many samples the smallest class has outside of the test part."""

    def smallest_class(self, options: Mapping[str, Any]) -> int | None:
        """How many samples its smallest class has that may be trained on; None where that is not known."""
        return self.smallest_classes.get(str(options.get("dataset")))

    def problems(
        self, options: Mapping[str, Any], space: Mapping[str, Parameter], *, metrics: Mapping[str, str]
    ) -> list[Problem]:
        """What does not fit: options of `run`, parameters of the space, metrics by the field that asks for them."""
        found = [*self._option_problems(options), *self._space_problems(space)]
        for field, metric in metrics.items():
            if metric not in self.metrics:
                sealed = f"; {SEALED_TEST}" if metric.startswith("test") else ""
                rule = f"the task does not report this metric{did_you_mean(metric, list(self.metrics))}{sealed}"
                found.append(Problem(field, rule, shown(metric)))
        return found

    def _option_problems(self, options: Mapping[str, Any]) -> Iterator[Problem]:
        for name, value in options.items():
            option = self.options.get(name)
            if option is None:
                yield Problem(f"run.{name}", f"the task has no such option{did_you_mean(name, list(self.options))}")
            elif not isinstance(value, str):
                yield Problem(f"run.{name}", "must be text", shown(value))
            elif option.choices and value not in option.choices:
                yield Problem(f"run.{name}", f"the task offers {', '.join(option.choices)}", shown(value))
        for name, option in self.options.items():
            if option.is_required and name not in options:
                offer = f"; one of {', '.join(option.choices)}" if option.choices else ""
                yield Problem(f"run.{name}", f"is required by the task{offer}")

    def _space_problems(self, space: Mapping[str, Parameter]) -> Iterator[Problem]:
        for name, parameter in space.items():
            if name not in self.parameters:
                yield Problem(
                    f"space.{name}", f"the task has no such parameter{did_you_mean(name, list(self.parameters))}"
                )
                continue
            for value in extremes(parameter):
                if (rule := self.parameters[name].broken_rule(value)) is not None:
                    yield Problem(f"space.{name}", rule, shown(value))
                    break
        for name, taken in self.parameters.items():
            if taken.is_required and name not in space:
                yield Problem(f"space.{name}", "is required by the task")
            elif taken.is_required and space[name].when is not None:
                yield Problem(
                    f"space.{name}.when",
                    "the task requires this parameter in every configuration; leave the condition out",
                )


def task_problems(spec: StudySpec) -> list[Problem]:
    """Everything in which a study does not fit the built-in task that it runs; none for a user's own code."""
    if not isinstance(spec.run, TaskRun):
        return []
    signature = TASKS.get(spec.run.task)
    if signature is None:
        return [
            Problem(
                "run.task", f"there is no such task{did_you_mean(spec.run.task, list(TASKS))}", shown(spec.run.task)
            )
        ]
    problems = signature.problems(spec.run.options, spec.space, metrics=_asked_for(spec))
    if problems:  # a space that is broken already would be called broken twice
        return problems
    return list(schedule_problems(spec.space, lengths=_lengths(spec)))


def _lengths(spec: StudySpec) -> list[int]:
    """How many steps the study's trials run, by stage; none when it does not say."""
    return [stage.steps for stage in planned(spec)] or ([] if spec.steps is None else [spec.steps])


def _asked_for(spec: StudySpec) -> dict[str, str]:
    """The metrics that the study reads, by the field that reads them."""
    if not spec.several_objectives:
        return {"objective.metric": spec.objective.metric}
    metrics = {f"objectives.{i}.metric": objective.metric for i, objective in enumerate(spec.objectives)}
    bounded = [name for name in spec.result_metrics if name not in metrics.values()]
    return {**metrics, **{f"outcomes ({name})": name for name in bounded}}


TASKS: Mapping[str, TaskSignature] = MappingProxyType(
    {
        "image_classification": TaskSignature(
            summary="Train a small network to tell the classes of pictures, signals or measurements apart.",
            options={
                "dataset": TaskOption(
                    choices=("digits", "mnist1d", "fashion_mnist", "wine", "breast_cancer"), is_required=True
                ),
                "folder": TaskOption(),
            },
            parameters={
                "lr": TaskParameter("float", above=0.0),
                "batch_size": TaskParameter("int", 64, low=2),
                "optimizer": TaskParameter("choice", "adamw", choices=IN_BATCHES, shapes=True),
                "momentum": TaskParameter("float", 0.9, low=0.0, below=1.0),
                "nesterov": TaskParameter("flag", False),
                "weight_decay": TaskParameter("float", 0.0, low=0.0),
                "l1": TaskParameter("float", 0.0, low=0.0),
                "label_smoothing": TaskParameter("float", 0.0, low=0.0, below=1.0),
                "mixup": TaskParameter("float", 0.0, low=0.0),
                "clip_percentile": TaskParameter("float", 100.0, above=0.0, high=100.0, shapes=True),
                "averaging": TaskParameter("choice", "none", choices=("none", "ema", "swa"), shapes=True),
                "precision": TaskParameter("choice", "full", choices=("full", "mixed")),
                "schedule": TaskParameter("choice", "constant", choices=NAMES, shapes=True),
                "period": TaskParameter("int", low=1, optional=True),
                "decay": TaskParameter("float", 0.1, above=0.0, below=1.0),
                "cycle_growth": TaskParameter("int", 1, low=1),
                "warmup": TaskParameter("float", 0.0, low=0.0),
                "model": TaskParameter("choice", "cnn", choices=("mlp", "cnn"), shapes=True),
                "depth": TaskParameter("int", 3, low=1, high=64, shapes=True),
                "width": TaskParameter("int", 32, low=1, high=16_384, shapes=True),
                "activation": TaskParameter("choice", "relu", choices=("relu", "gelu", "silu", "tanh")),
                "dropout": TaskParameter("float", 0.0, low=0.0, below=1.0),
                "normalization": TaskParameter("choice", "batch", choices=("none", "batch", "layer"), shapes=True),
                "residual": TaskParameter("flag", False, shapes=True),
            },
            metrics=("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
            smallest_classes={
                "digits": 139,
                "mnist1d": 394,
                "fashion_mnist": 6_000,
                "wine": 38,
                "breast_cancer": 170,
            },
        )
    }
)
"""The built-in tasks by name."""

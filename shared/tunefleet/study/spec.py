"""A study as a user writes it: one frozen model, the same in YAML, JSON and Python."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetPydanticSchema,
    JsonValue,
    StringConstraints,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from tunefleet.catalogue.pruners import NO_PRUNER, PRUNER_NAMES
from tunefleet.catalogue.samplers import AUTO, SAMPLER_NAMES
from tunefleet.errors import InvalidInput
from tunefleet.model import ABSENT, Model, did_you_mean
from tunefleet.names import Name, ParameterName, matching
from tunefleet.plain import Plain
from tunefleet.study.durations import Seconds
from tunefleet.study.expressions import Expression
from tunefleet.study.objective import FrontObjective, Objective, Outcome, is_true
from tunefleet.study.parameters import Parameter
from tunefleet.study.space import Space

PLUGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}(\.[A-Za-z0-9_-]{1,31}){1,2}")
"""The name of a plugin sampler has a dot, so that a typing error is not mistaken for a plugin."""


def _check_sampler(name: str) -> str:
    if name not in SAMPLER_NAMES and not PLUGIN.fullmatch(name):
        raise ValueError(
            f"must be one of {', '.join(SAMPLER_NAMES)}, or the name of a plugin sampler, which has a dot"
            f"{did_you_mean(name, list(SAMPLER_NAMES))}"
        )
    return name


Sampler = Annotated[
    str,
    AfterValidator(_check_sampler),
    WithJsonSchema({"anyOf": [{"enum": list(SAMPLER_NAMES)}, {"type": "string", "pattern": f"^{PLUGIN.pattern}$"}]}),
]
Pruner = Annotated[str, GetPydanticSchema(lambda _source, _handler: core_schema.literal_schema(list(PRUNER_NAMES)))]

BUNDLE_PREFIX = "sha256:"
"""On the wire, `run.code` is this prefix and the bundle's hash. In a user's file it is a folder."""


class TaskRun(Model):
    """A task that is built into the worker. All keys other than `task` are its options."""

    model_config = ConfigDict(extra="allow")

    task: Name

    @property
    def options(self) -> dict[str, Any]:
        """All keys other than `task`."""
        return dict(self.model_extra or {})


class FunctionRun(Model):
    """A Python function of the user, `module:name`. `code` is the folder that holds the module."""

    function: Annotated[
        str,
        *matching(
            r"^[A-Za-z_][\w.]{0,150}:[A-Za-z_]\w{0,99}$",
            "a function is written 'module:name', such as 'train:train'",
        ),
    ]
    code: str | None = Field(default=None, max_length=4_096)
    """A folder in the user's file; on the wire, `sha256:…` of its bundle. None: the workers have it installed."""


class CommandRun(Model):
    """Any program. `{name}` is replaced by the parameter; the environment holds all parameters."""

    command: Annotated[str, StringConstraints(min_length=1, max_length=10_000)]
    code: str | None = Field(default=None, max_length=4_096)
    """The folder to run the program in, given like that of a function."""


def _run_kind(data: Any) -> str | None:
    if isinstance(data, TaskRun | FunctionRun | CommandRun):
        return type(data).__name__.removesuffix("Run").upper()
    present = [key for key in ("task", "function", "command") if isinstance(data, dict) and key in data]
    return present[0].upper() if len(present) == 1 else None


Run = Annotated[
    Annotated[TaskRun, Tag("TASK")] | Annotated[FunctionRun, Tag("FUNCTION")] | Annotated[CommandRun, Tag("COMMAND")],
    Discriminator(
        _run_kind,
        custom_error_type="run_kind",
        custom_error_message="run needs exactly one of: task (a built-in one), function ('module:name'), "
        "command (any program)",
    ),
]


MAX_PROBE_SAMPLES = 10_000

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
SEALED_TEST = "the test part is sealed during the search and scores only the model that is chosen in the end"


class Split(Model):
    """The shares of training and validation in the data outside the sealed test part."""

    train: float = Field(default=0.8, gt=0, lt=1)
    validation: float = Field(default=0.2, gt=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _refuse_test(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "test" in data:
            raise ValueError(f"has the key 'test': {SEALED_TEST}")
        return data

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        if self.train + self.validation > 1 + 1e-9:
            raise ValueError(
                f"the sum of train and validation must be at most 1, but it is {self.train + self.validation:g}"
            )
        return self


class DataSpec(Model):
    """Rules for dividing the data. A built-in task follows them; a user's function reads them as `trial.data`."""

    split: Split = Split()
    stratify: bool = True
    group: ColumnName | None = None
    """The column that names each sample's group, such as the patient of an image. No group is in two parts."""
    time: ColumnName | None = None
    """The column of each sample's time. Validation is later than training; the test part is later than both."""
    subset: float = Field(default=1.0, gt=0, le=1)
    """The share of the training part that is used. A smaller subset is contained in a larger one."""
    folds: int = Field(default=1, ge=1, le=200)
    """The number of folds for cross-validation. Each configuration is trained once per fold and validated on that fold.
    1: no cross-validation; `split` defines the validation part."""
    race: bool = True
    """Stop running further folds of a configuration when a paired test shows that it is worse than the best one."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    probe: int = Field(default=256, ge=0)
    """The number of validation samples to store predictions for; all samples if the part has fewer."""

    @field_validator("probe")
    @classmethod
    def _check_probe(cls, probe: int) -> int:
        if probe > MAX_PROBE_SAMPLES:
            raise ValueError(
                f"must be at most {MAX_PROBE_SAMPLES:,} samples, because every trial stores its predictions of them"
            )
        return probe

    @model_validator(mode="after")
    def _check_time(self) -> Self:
        if self.time is not None and self.group is not None:
            raise ValueError("has both group and time, but a split uses only one of them; leave the other out")
        if self.time is not None and self.folds > 1:
            raise ValueError("has both time and folds, but folds train on samples later than validation; leave one out")
        return self


class Search(Model):
    """The sampler and its options."""

    sampler: Sampler = AUTO
    seed: int = Field(default=0, ge=0, lt=2**31)
    population: int = Field(default=8, ge=1, le=1_000)
    """The number of members in population-based training."""
    interval: int | None = Field(default=None, ge=1, le=10_000_000)
    """The number of steps between comparisons. After each one, the worst members continue from the best."""
    start_from: tuple[Name, ...] = Field(default=(), max_length=20)
    """Published recipes to run before the sampler's proposals; `tunefleet recipes` lists them."""

    @field_validator("start_from", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Stage(Model):
    """One stage of a coarse-to-fine plan."""

    trials: int = Field(ge=1)
    steps: int = Field(ge=1)
    keep: float = Field(default=0.25, gt=0, le=1)


class Pruning(Model):
    """Early stopping of trials. `tunefleet.catalogue.pruners` lists the keys that each pruner reads.

    Lengths are numbers of steps that a trial has run.
    """

    pruner: Pruner = NO_PRUNER
    mode: Literal["stop", "promote"] = "stop"
    """At a rung, a trial that is not among the best either ends (`stop`) or pauses until it is (`promote`)."""
    min: int = Field(default=1, ge=1, le=10_000_000)
    """The first rung: no trial is stopped before it has run this many steps."""
    max: int | None = Field(default=None, ge=1, le=10_000_000)
    """The last rung; the study's `steps` if not given."""
    eta: int = Field(default=3, ge=2, le=1_000)
    """One in `eta` trials continues after each rung, and each rung is `eta` times as far as the one before."""
    percentile: float = Field(default=25.0, gt=0, lt=100)
    """A trial continues while it ranks among this best percentage of the complete trials."""
    startup: int = Field(default=5, ge=1, le=1_000_000)
    """The number of complete trials that a comparison needs."""
    interval: int = Field(default=1, ge=1, le=10_000_000)
    """A trial is compared after `min` steps, and every `interval` steps after that."""
    patience: int | None = Field(default=None, ge=1, le=10_000_000)
    """The number of steps that a trial may run without an improvement."""
    min_delta: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Only a change greater than this counts as an improvement."""
    lower: float | None = Field(default=None, allow_inf_nan=False)
    """A trial stops when its value is below this bound."""
    upper: float | None = Field(default=None, allow_inf_nan=False)
    """A trial stops when its value is above this bound."""


class Budget(Model):
    """The limits at which a study ends: a number of trials, or of hours, whichever comes first.

    Without limits, the study runs until it is stopped.
    """

    trials: int | None = Field(default=None, ge=1, le=10_000_000)
    hours: float | None = Field(default=None, gt=0, le=24 * 366)


class Preflight(Model):
    """A sanity check before the budget is spent: overfit `samples` samples within `updates` updates."""

    samples: int = Field(default=64, ge=1)
    updates: int = Field(default=300, ge=1)


class Finalists(Model):
    """Run the best trials again with fresh seeds."""

    count: int = Field(default=5, ge=1)
    seeds: int = Field(default=3, ge=1)


class Ensemble(Model):
    """Combine the best models."""

    method: Literal["greedy", "top"] = "greedy"
    size: int = Field(default=5, ge=1)


class Resources(Model):
    """Requirements on a worker slot: at least this many GPUs, and all of the labels."""

    gpus: int = Field(default=0, ge=0, le=64)
    labels: tuple[Name, ...] = Field(default=(), max_length=20)


class Retry(Model):
    """The number of times that a trial is run again, by kind of failure."""

    lost: int = Field(default=5, ge=0, le=100)
    out_of_memory: int = Field(default=0, ge=0, le=100)
    error: int = Field(default=1, ge=0, le=100)


class StudySpec(Plain):
    """One search: a space, an objective, a sampler, a budget, the code to run.

    The same spec is a YAML file (`tunefleet.load_study`), the body of `POST /api/v1/studies`, and this class.
    `StudySpec.parse` builds it from plain data and raises InvalidInput with every broken rule. A submission is refused
    if it uses a part of the grammar that this version cannot run yet.
    """

    model_config = ConfigDict(
        populate_by_name=False,
        json_schema_extra={"oneOf": [{"required": ["objective"]}, {"required": ["objectives"]}]},
    )

    name: Name
    several_objectives: tuple[FrontObjective, ...] = Field(default=(), alias="objectives", max_length=4)
    """2 to 4 objectives without a preference among them; the study searches for their Pareto front."""
    single_objective: Annotated[Objective | None, Field(validate_default=True)] = Field(default=None, alias="objective")
    """The metric to optimise. A study has either `objective` or `objectives`."""
    run: Run
    data: DataSpec = DataSpec()
    space: dict[ParameterName, Parameter] = Field(min_length=1, max_length=200)
    constraints: tuple[str, ...] = Field(default=(), max_length=100)
    outcomes: tuple[Outcome, ...] = Field(default=(), max_length=100)
    """Bounds on metrics. A trial that breaks one is not on the front of `objectives`."""
    steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """The number of steps (epochs) in a full trial; `trial.epochs` counts them."""
    search: Search = Search()
    stages: tuple[Stage, ...] | Literal["auto"] = ()
    warm_start: tuple[Name, ...] = Field(default=(), max_length=10)
    """Earlier studies. The sampler learns from their trials before this study has its own."""
    pruning: Pruning = Pruning()
    budget: Budget = Budget()
    preflight: Preflight | None = None
    finalists: Finalists | None = None
    ensemble: Ensemble | None = None
    resources: Resources = Resources()
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    """Studies with a higher priority go first. Studies of equal priority share the slots by running trials."""
    trial_timeout: Seconds | None = None
    """The time limit of one attempt, in seconds; text such as `2h` is accepted."""
    retry: Retry = Retry()

    @field_validator("several_objectives")
    @classmethod
    def _check_several(cls, objectives: tuple[FrontObjective, ...]) -> tuple[FrontObjective, ...]:
        if len(objectives) == 1:
            raise ValueError("has only one objective; write it as `objective`, or add another")
        metrics = [objective.metric for objective in objectives]
        twice = next((metric for metric in metrics if metrics.count(metric) > 1), None)
        if twice is not None:
            raise ValueError(f"has the metric {twice!r} twice; give each objective its own metric")
        return objectives

    @field_validator("single_objective")
    @classmethod
    def _check_exactly_one(cls, objective: Objective | None, info: ValidationInfo) -> Objective | None:
        if "several_objectives" not in info.data:  # it is invalid and reported already
            return objective
        has_several = bool(info.data["several_objectives"])
        if objective is None and not has_several:
            raise PydanticCustomError(ABSENT, "is required", {"key": "objective"})
        if objective is not None and has_several:
            raise ValueError("a study needs either `objective` or `objectives`, but this one has both; leave one out")
        return objective

    @field_validator("constraints", "outcomes", "warm_start", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_space(self) -> Self:
        try:
            _ = self.search_space
        except InvalidInput as error:
            raise ValueError("; ".join(str(problem) for problem in error.problems)) from error
        return self

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives: one or several."""
        return self.several_objectives or (self.objective,)

    @property
    def objective(self) -> Objective:
        """The objective; the first one if there are several."""
        return self.single_objective or self.several_objectives[0]

    @cached_property
    def result_metrics(self) -> tuple[str, ...]:
        """The metrics that a report needs to be a trial's result: those of the objectives and of the outcomes."""
        bounded = (name for bound in self._bounds for name in sorted(bound.names))
        return tuple(dict.fromkeys([*(objective.metric for objective in self.objectives), *bounded]))

    def broken_outcomes(self, metrics: Mapping[str, float]) -> tuple[str, ...]:
        """Return the outcomes that a result breaks; `metrics` has all of `result_metrics`."""
        return tuple(bound.text for bound in self._bounds if not is_true(bound, metrics))

    @cached_property
    def _bounds(self) -> tuple[Expression, ...]:
        return tuple(map(Expression.parse, self.outcomes))

    @cached_property
    def search_space(self) -> Space:
        """The search space with its conditions and constraints."""
        return Space(self.space, self.constraints)

    @property
    def bundle(self) -> str | None:
        """The hash of the code bundle that a worker needs; None if it needs none."""
        code = getattr(self.run, "code", None)
        return code.removeprefix(BUNDLE_PREFIX) if code and code.startswith(BUNDLE_PREFIX) else None

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain data as a user would write it, without defaults; `parse` turns it into the same spec again."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

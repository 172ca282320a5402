"""The study as a user writes it: one frozen model, the same in YAML, JSON and Python."""

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
    JsonValue,
    StringConstraints,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tunefleet.errors import InvalidInput
from tunefleet.model import ABSENT, Model, did_you_mean
from tunefleet.names import Name, ParameterName, matching
from tunefleet.plain import Plain
from tunefleet.study.durations import Seconds
from tunefleet.study.expressions import Expression
from tunefleet.study.objective import FrontObjective, Objective, Outcome, is_true
from tunefleet.study.parameters import Parameter
from tunefleet.study.space import Space

SAMPLERS = ("auto", "grid", "random", "sobol", "tpe", "gp", "forest", "cmaes", "evolution", "pbt")
PLUGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}(\.[A-Za-z0-9_-]{1,31}){1,2}")
"""A sampler from elsewhere has a dot in its name, so that a slip of the pen is not taken for one."""


def _check_sampler(name: str) -> str:
    if name not in SAMPLERS and not PLUGIN.fullmatch(name):
        raise ValueError(
            f"is one of {', '.join(SAMPLERS)}, or the name of one that is installed beside the master, which has a dot "
            f"in it{did_you_mean(name, list(SAMPLERS))}"
        )
    return name


Sampler = Annotated[
    str,
    AfterValidator(_check_sampler),
    WithJsonSchema({"anyOf": [{"enum": list(SAMPLERS)}, {"type": "string", "pattern": f"^{PLUGIN.pattern}$"}]}),
]
Pruner = Literal["none", "median", "percentile", "patience", "threshold", "asha", "hyperband"]

BUNDLE_PREFIX = "sha256:"
"""`run.code` on the wire is this prefix and the bundle's hash; in a user's file it is a folder."""


class TaskRun(Model):
    """A task that is built into the worker; keys beside `task` are its options."""

    model_config = ConfigDict(extra="allow")

    task: Name

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside `task`."""
        return dict(self.model_extra or {})


class FunctionRun(Model):
    """A Python function of the user, `module:name`; `code` is the folder it lives in."""

    function: Annotated[
        str,
        *matching(
            r"^[A-Za-z_][\w.]{0,150}:[A-Za-z_]\w{0,99}$",
            "a function is written 'module:name', such as 'train:train'",
        ),
    ]
    code: str | None = Field(default=None, max_length=4_096)
    """A folder in the user's file, `sha256:…` of its bundle on the wire.

    None: the function is installed on the workers.
    """


class CommandRun(Model):
    """Any program; `{name}` stands for a parameter, and all of them are in its environment."""

    command: Annotated[str, StringConstraints(min_length=1, max_length=10_000)]
    code: str | None = Field(default=None, max_length=4_096)
    """The folder to run it in, as for a function."""


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
        custom_error_message="run has exactly one of: task (a built-in one), function ('module:name'), "
        "command (any program)",
    ),
]


MAX_PROBE_SAMPLES = 10_000

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
SEALED_TEST = "the test part is sealed during the search; it is set aside before, for the model that is chosen"


class Split(Model):
    """How the data that is not the sealed test part is divided."""

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
                f"train and validation must not exceed 1 together, and they are {self.train + self.validation:g}"
            )
        return self


class DataSpec(Model):
    """How a built-in task treats its data; a user's own function reads it as `trial.data`."""

    split: Split = Split()
    stratify: bool = True
    group: ColumnName | None = None
    """The column of what belongs together, such as the patient of each picture; no group is in two parts."""
    time: ColumnName | None = None
    """The column of when it was; validation is later than training, and the test part later than both."""
    subset: float = Field(default=1.0, gt=0, le=1)
    """The share of the training part that is used; smaller shares lie within larger ones."""
    folds: int = Field(default=1, ge=1, le=200)
    """Into how many parts the samples are dealt for cross-validation: each configuration is trained once for each, and
    validated on it. 1: there is none, and `split` says what is held out."""
    race: bool = True
    """Whether a configuration gets no further folds when a paired test says that it is worse than the best one."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    probe: int = Field(default=256, ge=0)
    """How many samples of the validation part a trial keeps its predictions of, to look at; all, where it has fewer."""

    @field_validator("probe")
    @classmethod
    def _check_probe(cls, probe: int) -> int:
        if probe > MAX_PROBE_SAMPLES:
            raise ValueError(
                f"a probe set has at most {MAX_PROBE_SAMPLES:,} samples, since every trial keeps what it says"
            )
        return probe

    @model_validator(mode="after")
    def _check_time(self) -> Self:
        if self.time is not None and self.group is not None:
            raise ValueError("has both group and time, and a split is by one of them; leave the other out")
        if self.time is not None and self.folds > 1:
            raise ValueError("has both time and folds, which would train on what is later than the validation")
        return self


class Search(Model):
    """Who proposes configurations."""

    sampler: Sampler = "auto"
    seed: int = Field(default=0, ge=0, lt=2**31)
    population: int = Field(default=8, ge=1, le=1_000)
    """How many members population-based training has."""
    interval: int | None = Field(default=None, ge=1, le=10_000_000)
    """After how many steps they are compared, and the worst go on from the best."""
    start_from: tuple[Name, ...] = Field(default=(), max_length=20)
    """Published recipes, which run before what the sampler proposes; `tunefleet recipes` lists them."""

    @field_validator("start_from", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Stage(Model):
    """One part of a coarse-to-fine plan."""

    trials: int = Field(ge=1)
    steps: int = Field(ge=1)
    keep: float = Field(default=0.25, gt=0, le=1)


class Pruning(Model):
    """Who stops trials early; `tunefleet.rules.pruning.READS` says which of these keys each pruner reads.

    Lengths are in steps that a trial has run.
    """

    pruner: Pruner = "none"
    mode: Literal["stop", "promote"] = "stop"
    """Whether a trial that is not among the best ends, or pauses and goes on when it is."""
    min: int = Field(default=1, ge=1, le=10_000_000)
    """No trial is stopped before it has run so many steps; the first rung."""
    max: int | None = Field(default=None, ge=1, le=10_000_000)
    """There is no rung behind it; the study's `steps` unless given."""
    eta: int = Field(default=3, ge=2, le=1_000)
    """One of so many trials goes on from each rung; each rung is so many times as far as the one before."""
    percentile: float = Field(default=25.0, gt=0, lt=100)
    """A trial goes on that would be among so many percent, the best ones, of the complete trials."""
    startup: int = Field(default=5, ge=1, le=1_000_000)
    """How many complete trials there are before one is compared with them."""
    interval: int = Field(default=1, ge=1, le=10_000_000)
    """A trial is compared after `min` steps and every so many from there."""
    patience: int | None = Field(default=None, ge=1, le=10_000_000)
    """How long a trial may run without an improvement."""
    min_delta: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """What is no improvement: a change that is not greater."""
    lower: float | None = Field(default=None, allow_inf_nan=False)
    """A trial whose value is below it is stopped."""
    upper: float | None = Field(default=None, allow_inf_nan=False)
    """A trial whose value is above it is stopped."""


class Budget(Model):
    """When the study ends: after so many trials, or so many hours, whichever comes first.

    Neither: when it is stopped.
    """

    trials: int | None = Field(default=None, ge=1, le=10_000_000)
    hours: float | None = Field(default=None, gt=0, le=24 * 366)


class Preflight(Model):
    """The sanity check: overfit so many samples within so many updates before the budget is spent."""

    samples: int = Field(default=64, ge=1)
    updates: int = Field(default=300, ge=1)


class Finalists(Model):
    """Run the best again on fresh seeds."""

    count: int = Field(default=5, ge=1)
    seeds: int = Field(default=3, ge=1)


class Ensemble(Model):
    """Put the best models together."""

    method: Literal["greedy", "top"] = "greedy"
    size: int = Field(default=5, ge=1)


class Resources(Model):
    """Which slots may take the study's trials: those with at least so many GPUs and all of the labels."""

    gpus: int = Field(default=0, ge=0, le=64)
    labels: tuple[Name, ...] = Field(default=(), max_length=20)


class Retry(Model):
    """How often a trial is run again after each kind of failure."""

    lost: int = Field(default=5, ge=0, le=100)
    out_of_memory: int = Field(default=0, ge=0, le=100)
    error: int = Field(default=1, ge=0, le=100)


class StudySpec(Plain):
    """One search: a space, an objective, a sampler, a budget, the code to run.

    The same spec is a YAML file (`tunefleet.load_study`), the body of `POST /api/v1/studies`, and this class.
    `StudySpec.parse` builds it from plain data and raises InvalidInput with every broken rule; what the grammar has
    but this version cannot run yet is refused at submission.
    """

    model_config = ConfigDict(
        populate_by_name=False,
        json_schema_extra={"oneOf": [{"required": ["objective"]}, {"required": ["objectives"]}]},
    )

    name: Name
    several_objectives: tuple[FrontObjective, ...] = Field(default=(), alias="objectives", max_length=4)
    """2 to 4 of which none is given up for another: the study looks for their front."""
    single_objective: Annotated[Objective | None, Field(validate_default=True)] = Field(default=None, alias="objective")
    """What is optimised; exactly one of `objective` and `objectives` is given."""
    run: Run
    data: DataSpec = DataSpec()
    space: dict[ParameterName, Parameter] = Field(min_length=1, max_length=200)
    constraints: tuple[str, ...] = Field(default=(), max_length=100)
    outcomes: tuple[Outcome, ...] = Field(default=(), max_length=100)
    """Bounds on metrics; a trial that breaks one is not on the front of `objectives`."""
    steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """How many steps (epochs) a full trial runs; `trial.epochs` counts them."""
    search: Search = Search()
    stages: tuple[Stage, ...] | Literal["auto"] = ()
    warm_start: tuple[Name, ...] = Field(default=(), max_length=10)
    """Earlier studies, from whose trials this one learns before it has its own."""
    pruning: Pruning = Pruning()
    budget: Budget = Budget()
    preflight: Preflight | None = None
    finalists: Finalists | None = None
    ensemble: Ensemble | None = None
    resources: Resources = Resources()
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    """Studies with a higher one go first; equal ones share the slots by trials running."""
    trial_timeout: Seconds | None = None
    """How long one attempt may take, in seconds; text such as `2h` is accepted."""
    retry: Retry = Retry()

    @field_validator("several_objectives")
    @classmethod
    def _check_several(cls, objectives: tuple[FrontObjective, ...]) -> tuple[FrontObjective, ...]:
        if len(objectives) == 1:
            raise ValueError("has one objective; write it as `objective`, or add another")
        metrics = [objective.metric for objective in objectives]
        twice = next((metric for metric in metrics if metrics.count(metric) > 1), None)
        if twice is not None:
            raise ValueError(f"has the metric {twice!r} twice; each objective has a metric of its own")
        return objectives

    @field_validator("single_objective")
    @classmethod
    def _check_exactly_one(cls, objective: Objective | None, info: ValidationInfo) -> Objective | None:
        if "several_objectives" not in info.data:  # it is wrong, and said so
            return objective
        has_several = bool(info.data["several_objectives"])
        if objective is None and not has_several:
            raise PydanticCustomError(ABSENT, "is required", {"key": "objective"})
        if objective is not None and has_several:
            raise ValueError("a study has `objective` or `objectives`, and this one has both; leave one of them out")
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
        """All that is optimised: one, or several."""
        return self.several_objectives or (self.objective,)

    @property
    def objective(self) -> Objective:
        """What is optimised; of several, the first."""
        return self.single_objective or self.several_objectives[0]

    @cached_property
    def result_metrics(self) -> tuple[str, ...]:
        """The metrics that a report has to have to be a trial's result: of the objectives, and of the outcomes."""
        bounded = (name for bound in self._bounds for name in sorted(bound.names))
        return tuple(dict.fromkeys([*(objective.metric for objective in self.objectives), *bounded]))

    def broken_outcomes(self, metrics: Mapping[str, float]) -> tuple[str, ...]:
        """The outcomes that are not true of a result, which has all of `result_metrics`."""
        return tuple(bound.text for bound in self._bounds if not is_true(bound, metrics))

    @cached_property
    def _bounds(self) -> tuple[Expression, ...]:
        return tuple(map(Expression.parse, self.outcomes))

    @cached_property
    def search_space(self) -> Space:
        """The space with its conditions and constraints, ready to sample from."""
        return Space(self.space, self.constraints)

    @property
    def bundle(self) -> str | None:
        """The hash of the code bundle that a worker needs, None when it needs none."""
        code = getattr(self.run, "code", None)
        return code.removeprefix(BUNDLE_PREFIX) if code and code.startswith(BUNDLE_PREFIX) else None

    def to_json(self) -> dict[str, JsonValue]:
        """Plain data as a user would write it, defaults left out; `parse` gives the same spec again."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

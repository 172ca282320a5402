"""The face of a trial that a training function sees, the same on a worker and in a notebook.

A training function takes the trial first and its parameters by name::

    def train(trial, lr, batch_size):
        for epoch in trial.epochs(model=model, optimizer=optimizer):
            ...
            trial.report(train_loss=a, val_loss=b)

`Trial` holds what every trial does alike: which step it is at, and that reports of one step are merged. What becomes
of a report, of a boundary between two epochs and of a file is a subclass's: `tunefleet.LocalTrial` keeps them, a
worker's trial spools them for the master.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, SupportsFloat

from pydantic import JsonValue, TypeAdapter, ValidationError

from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import problems_of, shown
from tunefleet.names import MetricName, Name
from tunefleet.protocol import MAX_STEP, Lease
from tunefleet.protocol.telemetry import Telemetry
from tunefleet.study.spec import DataSpec, TaskRun
from tunefleet.trial.watch import WatchSession

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

MAX_METRICS = 200  # of one step; the master refuses more

_METRIC_NAME: TypeAdapter[str] = TypeAdapter(MetricName)
_FILE_NAME: TypeAdapter[str] = TypeAdapter(Name)


class TrialStopped(BaseException):
    """The trial was told to stop; raised inside `epochs` and `report`.

    No error: it derives from BaseException so that an `except Exception` around a training step lets it pass. A
    function may catch it to clean up, and should raise it again or return.
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(f"{reason}: {message}" if message else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a trial has to run; `Trial` says what each field is."""

    number: int = 0
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    seed: int = 0
    steps: int | None = None
    until: int | None = None
    attempt: int = 1
    data: DataSpec = field(default_factory=DataSpec)
    fold: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, lease: Lease) -> Self:
        """What a lease assigns."""
        return cls(
            number=lease.number,
            params=lease.params,
            seed=lease.seed,
            steps=lease.steps,
            until=lease.until,
            attempt=lease.attempt,
            data=lease.data,
            fold=lease.fold,
            options=lease.run.options if isinstance(lease.run, TaskRun) else {},
        )


class Trial(ABC):
    """One configuration to train, and the way to tell how it goes.

    Attributes:
        number: counts from 0 within the study.
        params: the active parameters by name, as the function's arguments have them.
        seed: of this trial; the global generators of random, numpy and torch are seeded with it before the function.
        steps: how many steps (epochs) to run; None when the study does not say.
        attempt: 1, and one more each time that the trial is run again.
        data: how the study wants its data divided.
        fold: which of `data.folds` folds to validate on, from 0; None where the study has none.
        options: of a built-in task, the keys beside `task`.
        device: `cpu` or `cuda`.
        folder: a folder of the trial's own for whatever it likes; emptied when the trial ends.
        preflight: whether this is the study's preflight, which asks whether the function can learn at all. Then leave
            out all that makes learning harder: dropout, weight decay, label smoothing, augmentation.
        limit_data: train on so many samples only, always the same; None: on all of them.
    """

    def __init__(self, assignment: Assignment, *, folder: Path, device: Literal["cpu", "cuda"] = "cpu") -> None:
        self.number = assignment.number
        self.params = MappingProxyType(dict(assignment.params))
        self.seed = assignment.seed
        self.steps = assignment.steps
        self._until = assignment.until  # where this trial ends, and others go on with the steps that are left
        self.attempt = assignment.attempt
        self.data = assignment.data
        self.fold = assignment.fold
        self.options = MappingProxyType(dict(assignment.options))
        self.device = device
        self.folder = folder
        self.preflight = False
        self.limit_data: int | None = None
        self._step: int | None = None  # the epoch that is running, or the last that ran
        self._looping = False
        self._reported_step: int | None = None
        self._merged: dict[str, float] = {}
        self._known_names: set[str] = set()
        self._watch = WatchSession()

    def epochs(self, count: int | None = None, /, **stateful: Any) -> Iterator[int]:
        """Count the steps from 0, or from where an earlier attempt left off, to `steps` - 1.

        Where a population is trained, a trial runs some of the steps, from where another one left off, and the options
        of restored optimizers (`lr`, `momentum`, …) are still as this trial's function made them.

        Between two steps the trial is saved, and here it learns that it should stop. Pass everything that training
        changes, by any names: `trial.epochs(model=model, optimizer=optimizer, shuffle=generator)`. What is passed is
        restored before the first step, so that a resumed run equals an unbroken one; without it an interrupted trial
        starts again from step 0. The object passed as `model` is also kept from its best step, and becomes the
        artifact `model.safetensors`.

        Args:
            count: how many steps, instead of the trial's `steps`.
            stateful: objects with `state_dict()` and `load_state_dict()`, generators of torch, numpy and random.

        Raises:
            InvalidInput: neither the study nor `count` says how many steps there are, or it is the trial's second loop.
            TrialStopped: the trial should end now.
        """
        return self._run_epochs(self._number_of_epochs(count), stateful)

    def report(
        self,
        metrics: Mapping[str, SupportsFloat] | None = None,
        /,
        *,
        step: int | None = None,
        **named: SupportsFloat,
    ) -> None:
        """Tell metrics; neither waits for the master nor fails when it is away.

        Several reports of one step are merged; a later value of the same metric counts.

        Args:
            metrics: by name, for names that are no Python identifiers.
            step: the current epoch unless given; outside `epochs`, the one after the last report.
            named: metrics by name.

        Raises:
            InvalidInput: a name or a value cannot be a metric's, or the step goes back.
            TrialStopped: the trial should end now.
        """
        numbers = self._checked({**(metrics or {}), **named})
        at = self._step_of_report(step)
        if at != self._reported_step:
            self._merged = {}
            self._watch.start_step()
            self._reported_step = at
        if len(self._merged.keys() | numbers.keys()) > MAX_METRICS:
            raise InvalidInput([Problem("report", f"a step has at most {MAX_METRICS} metrics")])
        self._merged |= numbers
        if numbers:
            self._record(at, self._watch.with_summaries(self._merged, at_most=MAX_METRICS))

    def watch(self, model: Any, *optimizers: Any, scaler: Any = None) -> None:
        """See how the training goes inside: call it once, before the epochs, with what is trained.

        At log-spaced updates, for under 2 % of the time, it looks at how large the applied step of each parameter is
        beside it, at the gradients' norm before any clipping, and at what the layers put out for the batch: moments,
        units that are dead or saturated. The artifact `telemetry.json` has all of it, and reports get the metrics
        `watch.update_ratio`, `watch.grad_norm`, `watch.dead_units` and `watch.saturated_units` as far as they apply.
        `watch.input_scale` is the size of what the first layer is given. Where a loop trains on batches, judges in
        evaluation mode or without gradients, and reports, `watch.val_seen` is the share of validation's samples that
        were trained on, and `watch.input_shift` how unlike the inputs of both parts are.
        Training is left as it is, and a failure of the watch ends the watch alone.

        Args:
            model: a torch.nn.Module.
            optimizers: of torch, usually one; where there are several, the last one's step ends an update.
            scaler: the gradient scaler, where training in mixed precision has one.

        Raises:
            InvalidInput: the model has nothing to train, the optimizers do not train it, or it is the second call.
        """
        self._watch.begin(model, optimizers, scaler=scaler)

    def telemetry(self) -> Telemetry | None:
        """What `watch` has seen so far; None without a watch."""
        return self._watch.telemetry()

    def split(
        self, labels: ArrayLike, *, groups: ArrayLike | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The positions of the samples to train on, and of those to validate on: of this trial's fold, if any.

        The same labels give the same in each trial of the study, on every worker. It needs numpy.

        Args:
            labels: one for each sample, in the same order in each trial; of a regression, with `stratify: false`.
            groups: what belongs together, one for each sample; no group is on both sides.

        Raises:
            InvalidInput: the study names a `data.group`, and no groups are given.
            SplitError: there are fewer samples, groups, or samples of a class, than folds; or as `split_indices` says.
        """
        from tunefleet.data.one_fold import split_for_fold  # these import numpy, which a client need not have
        from tunefleet.data.split import split_indices

        if self.data.group is not None and groups is None:
            rule = f"is required, since the study keeps together what has the same {self.data.group} (data.group)"
            raise InvalidInput([Problem("groups", rule)])
        if self.fold is not None:
            return split_for_fold(labels, self.data, fold=self.fold, groups=groups)
        if groups is None:
            parts = split_indices(labels, self.data)
        else:
            by_group = self.data.model_copy(update={"group": "groups"})
            parts = split_indices(labels, by_group, columns={"groups": groups})
        return parts.train, parts.validation

    def save(self, name: str, path: Path | str) -> None:
        """Keep the file at `path` as the trial's artifact `name`; it is copied now and may change afterwards.

        Raises:
            InvalidInput: the name cannot be a file's, or there is no such file.
        """
        try:
            _FILE_NAME.validate_python(name)
        except ValidationError as error:
            raise InvalidInput(problems_of(error, field="name")) from error
        file = Path(path)
        if not file.is_file():
            raise InvalidInput([Problem("path", f"there is no file {file}")])
        self._keep(name, file)

    def load_best(self, model: Any) -> bool:
        """Give `model` the state that the object passed to `epochs` as `model` had at its best step.

        False, and the model stays as it is, where no such state is here: the trial keeps none, as in a notebook, or an
        earlier attempt of it had the best step.
        """
        return False

    @abstractmethod
    def _begin(self, count: int, stateful: Mapping[str, Any]) -> int:
        """Restore `stateful` from an earlier attempt if there is one; the step to begin with (0 without)."""

    @abstractmethod
    def _between(self, step: int, count: int, stateful: Mapping[str, Any]) -> None:
        """Step `step` of `count` has ended: save, and raise TrialStopped when the trial should end."""

    @abstractmethod
    def _record(self, step: int, metrics: dict[str, float]) -> None:
        """Take in all metrics of a step so far; may raise TrialStopped."""

    @abstractmethod
    def _keep(self, name: str, file: Path) -> None:
        """Keep a copy of a file that exists as an artifact; the name is checked."""

    def _number_of_epochs(self, count: int | None) -> int:
        if self._looping:
            raise InvalidInput(
                [Problem("epochs", "trial.epochs(...) was called before, and one trial has one loop of epochs")],
                hint="Report the metrics of another loop with trial.report(step=...), or run it in a trial of its own.",
            )
        total = self.steps if count is None else count
        if total is None:
            raise InvalidInput(
                [Problem("steps", "the study does not say how many steps a trial runs")],
                hint="Set `steps` in the study, or pass the number: trial.epochs(20, model=model).",
            )
        if total < 1:
            raise InvalidInput([Problem("steps", "a trial runs at least one step", shown(total))])
        self._looping = True
        return total

    def _run_epochs(self, count: int, stateful: Mapping[str, Any]) -> Iterator[int]:
        end = count if self._until is None else min(count, self._until)
        try:
            for step in range(self._begin(end, stateful), end):
                self._step = self._watch.epoch = step
                yield step
                self._watch.store_if_due(self._keep, self.folder)
                self._between(step, end, stateful)
        finally:
            self._end_watch()

    def _end_watch(self) -> None:
        """Store what is left of the telemetry, and take the hooks away; safe to call twice."""
        self._watch.close(self._keep, self.folder)

    def _step_of_report(self, step: int | None) -> int:
        last = self._reported_step
        if step is None:
            if self._step is not None:
                return self._step if last is None else max(self._step, last)
            return 0 if last is None else last + 1
        if isinstance(step, bool) or not 0 <= step <= MAX_STEP:
            raise InvalidInput([Problem("step", f"a step is an integer from 0 to {MAX_STEP}", shown(step))])
        if last is not None and step < last:
            raise InvalidInput(
                [Problem("step", f"steps do not go back, and step {last} was reported before", shown(step))]
            )
        return int(step)

    def _checked(self, metrics: Mapping[str, SupportsFloat]) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for name, value in metrics.items():
            if name not in self._known_names:
                _check_metric_name(name)
                self._known_names.add(name)
            try:
                # `item` of a tensor or an array; float() of a tensor with a gradient warns.
                numbers[name] = float(value.item() if hasattr(value, "item") else value)
            except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch, for a tensor of many elements
                raise InvalidInput(
                    [Problem(f"report.{name}", "a metric's value is one number", shown(value))]
                ) from error
        return numbers


def _check_metric_name(name: str) -> None:
    try:
        _METRIC_NAME.validate_python(name)
    except ValidationError as error:
        raise InvalidInput(problems_of(error, field="report")) from error

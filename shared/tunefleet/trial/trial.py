"""The interface between a trial and its training function, the same on a worker and in a notebook.

A training function takes the trial first and its parameters by name::

    def train(trial, lr, batch_size):
        for epoch in trial.epochs(model=model, optimizer=optimizer):
            ...
            trial.report(train_loss=a, val_loss=b)

`Trial` counts the steps and merges the reports of one step. Subclasses handle reports, files and the end of each
epoch: `tunefleet.LocalTrial` stores them locally, a worker's trial spools them for the master.
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
    """An order to stop the trial; raised in `epochs` and `report`.

    It is not an error. It derives from BaseException, so an `except Exception` around a training step does not catch
    it. A function may catch it to clean up, and should then raise it again or return.
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(f"{reason}: {message}" if message else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The work of a trial; `Trial` describes the fields."""

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
        """Return the assignment of a lease."""
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
    """One configuration to train, with methods to report its progress.

    Attributes:
        number: the trial's number in the study, from 0.
        params: the active parameters by name; the function receives the same values as arguments.
        seed: the trial's seed. The global generators of random, numpy and torch are seeded with it before the function.
        steps: the number of steps (epochs) to run; None if the study does not set it.
        attempt: 1, plus one for each time that the trial is run again.
        data: the study's rules for dividing the data.
        fold: the fold to validate on, from 0 to `data.folds` - 1; None if the study has no folds.
        options: for a built-in task, all keys of `run` other than `task`.
        device: `cpu` or `cuda`.
        folder: a scratch folder of the trial; it is emptied when the trial ends.
        preflight: True in the study's preflight, which tests whether the function can learn at all. Then leave out
            everything that makes learning harder: dropout, weight decay, label smoothing, augmentation.
        limit_data: train on this many samples only, always the same ones; None: on all samples.
    """

    def __init__(self, assignment: Assignment, *, folder: Path, device: Literal["cpu", "cuda"] = "cpu") -> None:
        self.number = assignment.number
        self.params = MappingProxyType(dict(assignment.params))
        self.seed = assignment.seed
        self.steps = assignment.steps
        self._until = assignment.until  # the trial ends here; other trials run the remaining steps
        self.attempt = assignment.attempt
        self.data = assignment.data
        self.fold = assignment.fold
        self.options = MappingProxyType(dict(assignment.options))
        self.device = device
        self.folder = folder
        self.preflight = False
        self.limit_data: int | None = None
        self._step: int | None = None  # the running epoch, or the last one that ran
        self._looping = False
        self._reported_step: int | None = None
        self._merged: dict[str, float] = {}
        self._known_names: set[str] = set()
        self._watch = WatchSession()

    def epochs(self, count: int | None = None, /, **stateful: Any) -> Iterator[int]:
        """Yield the steps from 0, or from the end of an earlier attempt, to `steps` - 1.

        Between two steps, the trial saves a checkpoint, and stops if it was ordered to. Pass all objects that training
        changes, under any names: `trial.epochs(model=model, optimizer=optimizer, shuffle=generator)`. They are restored
        before the first step, so a resumed run equals an uninterrupted one. Without them, an interrupted trial starts
        again at step 0. The object passed as `model` is also stored at its best step, as the artifact
        `model.safetensors`.

        In population-based training, a trial runs part of the steps and continues from another trial. Restored
        optimizers keep the options (`lr`, `momentum`, …) that this trial's function gave them.

        Args:
            count: the number of steps; by default the trial's `steps`.
            stateful: objects with `state_dict()` and `load_state_dict()`; generators of torch, numpy and random.

        Raises:
            InvalidInput: neither the study nor `count` sets the number of steps, or this is the trial's second loop.
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
        """Report metrics. It neither waits for the master nor fails if the master is unreachable.

        Reports of the same step are merged; the last value of a metric counts.

        Args:
            metrics: metrics by name, for names that are not Python identifiers.
            step: the step; by default the current epoch, or outside `epochs` the step after the last report.
            named: metrics by name.

        Raises:
            InvalidInput: a name or a value is not valid for a metric, or the step is below the last reported one.
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
        """Record telemetry of the training. Call it once before the epochs, with the model and its optimizers.

        At log-spaced updates, it measures the size of each parameter's step relative to the parameter, the gradient
        norm before any clipping, and the outputs of the layers: moments, dead and saturated units. This takes under
        2 % of the time. It does not change the training; if the watch fails, only the watch ends.

        The artifact `telemetry.json` has all measurements. Reports get these metrics, as far as they apply:
        `watch.update_ratio`, `watch.grad_norm`, `watch.dead_units`, `watch.saturated_units`, and `watch.input_scale`,
        the scale of the first layer's inputs. If the loop trains on batches, validates in evaluation mode or without
        gradients, and reports, there are two more. `watch.val_seen` is the share of validation samples that were
        trained on. `watch.input_shift` is the difference between training and validation inputs.

        Args:
            model: a torch.nn.Module.
            optimizers: torch optimizers, usually one; with several, the step of the last one ends an update.
            scaler: the gradient scaler of mixed-precision training, if any.

        Raises:
            InvalidInput: the model has nothing to train, the optimizers do not train it, or this is the second call.
        """
        self._watch.begin(model, optimizers, scaler=scaler)

    def telemetry(self) -> Telemetry | None:
        """Return the telemetry so far; None without `watch`."""
        return self._watch.telemetry()

    def split(
        self, labels: ArrayLike, *, groups: ArrayLike | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the positions of the training samples and of the validation samples, in this trial's fold if any.

        The same labels give the same split in each trial of the study, on every worker. Needs numpy.

        Args:
            labels: one label for each sample, in the same order in each trial; for a regression, set `stratify: false`.
            groups: one group for each sample; no group is in both parts.

        Raises:
            InvalidInput: the study sets `data.group`, but no groups are given.
            SplitError: there are fewer samples, groups, or samples of a class, than folds; or as in `split_indices`.
        """
        from tunefleet.data.one_fold import split_for_fold  # these import numpy, which a client may lack
        from tunefleet.data.split import split_indices

        if self.data.group is not None and groups is None:
            rule = f"is required, because the study keeps samples with the same {self.data.group} together (data.group)"
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
        """Store a copy of the file at `path` as the trial's artifact `name`.

        Raises:
            InvalidInput: the name is not valid, or there is no such file.
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
        """Load into `model` the state that the object passed to `epochs` as `model` had at its best step.

        Return False and leave the model unchanged if that state is not available: a `LocalTrial` stores none, and the
        best step may belong to an earlier attempt.
        """
        return False

    @abstractmethod
    def _begin(self, count: int, stateful: Mapping[str, Any]) -> int:
        """Restore `stateful` from an earlier attempt, if there is one. Return the first step to run, by default 0."""

    @abstractmethod
    def _between(self, step: int, count: int, stateful: Mapping[str, Any]) -> None:
        """End step `step` of `count`: save a checkpoint, and raise TrialStopped if the trial should end."""

    @abstractmethod
    def _record(self, step: int, metrics: dict[str, float]) -> None:
        """Record all metrics of a step so far; may raise TrialStopped."""

    @abstractmethod
    def _keep(self, name: str, file: Path) -> None:
        """Store a copy of an existing file as an artifact; the name is valid."""

    def _number_of_epochs(self, count: int | None) -> int:
        if self._looping:
            raise InvalidInput(
                [Problem("epochs", "trial.epochs(...) was called before, but a trial has only one loop of epochs")],
                hint="Report the metrics of another loop with trial.report(step=...), or run it in another trial.",
            )
        total = self.steps if count is None else count
        if total is None:
            raise InvalidInput(
                [Problem("steps", "the study does not set the number of steps of a trial")],
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
        """Store the rest of the telemetry and remove the hooks; safe to call twice."""
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
            raise InvalidInput([Problem("step", f"must not be below {last}, the last reported step", shown(step))])
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

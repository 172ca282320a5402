"""The trial that a training function gets in a preflight: a few samples, a few updates, and recorders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from tunefleet.protocol import Lease
from tunefleet.trial.trial import Assignment, Trial, TrialStopped
from tunefleet_worker.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tunefleet_worker.preflight.fit import FitProgress
from tunefleet_worker.preflight.losses import EpochSums, LossRecorder
from tunefleet_worker.preflight.models import ModelRecorder

FRESH = "fresh.safetensors"


class PreflightDone(TrialStopped):
    """The preflight has all its facts; it is not an order of the master."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The plan of one run.

    Attributes:
        params: the configuration.
        seed: the run's seed.
        samples: the value of `trial.limit_data`.
        updates: maximum number of optimizer steps.
        state: the file for the run's checkpoint; None: no checkpoint.
        is_blind: the model gets zeros as inputs.
        reload: a checkpoint of an earlier run and the inputs of its model, to compare the outputs after loading.
    """

    params: Mapping[str, JsonValue]
    seed: int
    samples: int
    updates: int
    state: Path | None = None
    is_blind: bool = False
    reload: tuple[Path, Any] | None = None


@dataclass(slots=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        progress: the progress in fitting the samples.
        metrics: the last reported metrics.
        evaluated: sums of the loss calls without gradients in the last epoch that had any.
        n_trained: samples of the largest epoch; 0 without torch's loss functions.
        reloaded: outputs of the model with the weights of the checkpoint; None: nothing was loaded.
        fault: the reason why a checkpoint could not be written or loaded.
    """

    progress: FitProgress
    metrics: dict[str, float] = field(default_factory=dict)
    evaluated: EpochSums = field(default_factory=EpochSums)
    n_trained: int = 0
    reloaded: Any = None
    fault: str = ""


class PreflightTrial(Trial):
    """Runs the function until it fits a few samples or the plan's updates are made; reports go nowhere.

    Args:
        lease: the preflight's lease.
        plan: the plan of this run.
        losses: the active recorder of losses.
        folder: the folder for files and checkpoints.
        device: the device to train on.
        check: raises TrialStopped when the worker should stop.
    """

    def __init__(
        self,
        lease: Lease,
        plan: RunPlan,
        *,
        losses: LossRecorder,
        folder: Path,
        device: Literal["cpu", "cuda"],
        check: Callable[[], None],
    ) -> None:
        changes = {"params": dict(plan.params), "steps": plan.updates, "seed": plan.seed}
        super().__init__(Assignment.of(lease.model_copy(update=changes)), folder=folder, device=device)
        self.preflight = True
        self.limit_data = plan.samples
        self.model_recorder = ModelRecorder([])
        self.losses = losses
        self.outcome = Outcome(FitProgress())
        self._plan = plan
        self._check = check
        self._stateful: Mapping[str, Any] = {}

    @property
    def n_updates(self) -> int:
        """Number of optimizer steps; without an optimizer, of loss calls, or else of epochs."""
        return self.model_recorder.n_updates if self.model_recorder.has_optimizer else self.outcome.progress.n_updates

    def close(self) -> None:
        """Remove all hooks."""
        self.model_recorder.close()

    def save_state(self) -> Path | None:
        """Save the objects that the function passed to `epochs`; return None without any. Raises CheckpointError."""
        path = self._plan.state
        if not self._stateful or path is None:
            return None
        save_checkpoint(path, step=0, objects=self._stateful, progress={})
        return path

    def _number_of_epochs(self, count: int | None) -> int:
        super()._number_of_epochs(count)
        return self._plan.updates

    def _run_epochs(self, count: int, stateful: Mapping[str, Any]) -> Iterator[int]:
        self._stateful = stateful
        self.model_recorder = ModelRecorder(stateful.values())
        self._reload()
        if self._plan.is_blind:
            self.model_recorder.blind()
        for step in range(count):
            self._step = step
            yield step
            self._check()
            self._add_epoch()
            if self._is_done():
                return

    def _reload(self) -> None:
        """Load the checkpoint as a resumed trial does, store the model's outputs, and restore the initial state."""
        if self._plan.reload is None or not self._stateful:
            return
        path, fresh = self._plan.reload[0], self.folder / FRESH
        save_checkpoint(fresh, step=0, objects=self._stateful, progress={})
        try:
            load_checkpoint(path, objects=self._stateful)
        except CheckpointError as error:
            self.outcome.fault = str(error)
            return
        self.model_recorder.example = self._plan.reload[1]
        self.outcome.reloaded = self.model_recorder.outputs()
        self.model_recorder.example = None
        load_checkpoint(fresh, objects=self._stateful)

    def _record(self, step: int, metrics: dict[str, float]) -> None:
        self._check()
        self.outcome.metrics = metrics
        if not self._looping:
            self._add_epoch()
            if self._is_done():
                raise PreflightDone("preflight")

    def _add_epoch(self) -> None:
        """Add an ended epoch to the outcome."""
        trained, evaluated = self.losses.next_epoch()
        self.outcome.n_trained = max(self.outcome.n_trained, trained.n)
        if evaluated.n:
            self.outcome.evaluated = evaluated
        self.outcome.progress.add(
            trained, self.outcome.metrics, start=self.losses.start, updates=self.model_recorder.n_updates
        )

    def _is_done(self) -> bool:
        is_broken = not self.losses.is_finite or any(not math.isfinite(it) for it in self.outcome.metrics.values())
        n_updates = max(self.n_updates, self.outcome.progress.n_updates)
        return self.outcome.progress.has_fitted or n_updates >= self._plan.updates or is_broken

    def _begin(self, count: int, stateful: Mapping[str, Any]) -> int:
        return 0

    def _between(self, step: int, count: int, stateful: Mapping[str, Any]) -> None:
        pass

    def _keep(self, name: str, file: Path) -> None:
        pass

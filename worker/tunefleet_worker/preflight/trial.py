"""The trial that a training function gets in a preflight: a few samples, a few updates, and somebody who looks on."""

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
    """The preflight has seen what it wanted to; no order of the master's."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What one run of the function is for.

    Attributes:
        params: the configuration.
        seed: of the run.
        state: where the run's checkpoint is written; None: nowhere.
        samples: for `trial.limit_data`.
        updates: of the optimizer, at most.
        is_blind: the model gets zeros as inputs.
        reload: a checkpoint of an earlier run, and what its model gave then, to be compared once the model is built.
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
    """What a run showed.

    Attributes:
        progress: how well it came to fit the samples.
        metrics: what was reported last.
        judged: predictions that nothing was learned from, in the last epoch.
        n_trained: samples of the largest epoch; 0 where the loss is none of torch's.
        reloaded: what the model gave with the weights of the checkpoint; None: nothing was loaded.
        fault: why a checkpoint could not be written or loaded.
    """

    progress: FitProgress
    metrics: dict[str, float] = field(default_factory=dict)
    judged: EpochSums = field(default_factory=EpochSums)
    n_trained: int = 0
    reloaded: Any = None
    fault: str = ""


class PreflightTrial(Trial):
    """Runs the function for as many updates as are needed to see whether it fits a few samples, and tells nobody.

    Args:
        lease: of the preflight.
        plan: what this run is for.
        losses: sees the losses.
        folder: for the function's files and the checkpoint.
        device: as for any trial.
        check: raises TrialStopped when the worker should leave off.
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
        self.looked = ModelRecorder([])
        self.losses = losses
        self.outcome = Outcome(FitProgress())
        self._plan = plan
        self._check = check
        self._stateful: Mapping[str, Any] = {}

    @property
    def n_updates(self) -> int:
        """Steps of the optimizers; without one, calls of the loss, or else epochs."""
        return self.looked.n_updates if self.looked.has_optimizer else self.outcome.progress.n_updates

    def close(self) -> None:
        """Take all hooks away."""
        self.looked.close()

    def save_state(self) -> Path | None:
        """Write what the function passed to `epochs`; None where that is nothing. Raises CheckpointError."""
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
        self.looked = ModelRecorder(stateful.values())
        self._reload()
        if self._plan.is_blind:
            self.looked.blind()
        for step in range(count):
            self._step = step
            yield step
            self._check()
            self._take_stock()
            if self._has_enough():
                return

    def _reload(self) -> None:
        """Do what a resumed trial does, compare, and go on as if nothing had been."""
        if self._plan.reload is None or not self._stateful:
            return
        path, fresh = self._plan.reload[0], self.folder / FRESH
        save_checkpoint(fresh, step=0, objects=self._stateful, progress={})
        try:
            load_checkpoint(path, objects=self._stateful)
        except CheckpointError as error:
            self.outcome.fault = str(error)
            return
        self.looked.example = self._plan.reload[1]
        self.outcome.reloaded = self.looked.outputs()
        self.looked.example = None
        load_checkpoint(fresh, objects=self._stateful)

    def _record(self, step: int, metrics: dict[str, float]) -> None:
        self._check()
        self.outcome.metrics = metrics
        if not self._looping:
            self._take_stock()
            if self._has_enough():
                raise PreflightDone("preflight")

    def _take_stock(self) -> None:
        """An epoch has ended: see how far it has come."""
        trained, judged = self.losses.next_epoch()
        self.outcome.n_trained = max(self.outcome.n_trained, trained.n)
        if judged.n:
            self.outcome.judged = judged
        self.outcome.progress.add(trained, self.outcome.metrics, start=self.losses.start, updates=self.looked.n_updates)

    def _has_enough(self) -> bool:
        is_broken = not self.losses.is_finite or any(not math.isfinite(it) for it in self.outcome.metrics.values())
        n_updates = max(self.n_updates, self.outcome.progress.n_updates)
        return self.outcome.progress.has_fitted or n_updates >= self._plan.updates or is_broken

    def _begin(self, count: int, stateful: Mapping[str, Any]) -> int:
        return 0

    def _between(self, step: int, count: int, stateful: Mapping[str, Any]) -> None:
        pass

    def _keep(self, name: str, file: Path) -> None:
        pass

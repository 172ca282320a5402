"""A worker's trial, as a training function sees it: it spools what it is told, saves itself, and obeys its agent."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

from tunefleet.errors import InvalidInput, Problem
from tunefleet.failpoints import failpoint
from tunefleet.protocol import Lease
from tunefleet.trial.trial import Assignment, Trial, TrialStopped
from tunefleet_worker.attempt_folder import CHECKPOINT, MODEL, AttemptFolder
from tunefleet_worker.best_model import BestModel
from tunefleet_worker.orders import Order, OrderReceiver
from tunefleet_worker.spool import FileRecord, ReportRecord, SpoolWriter

# A checkpoint is due when training has taken so many times its cost: it takes at most 2 % of the time.
COST_FACTOR = 50
# Of each artifact, the file that is being sent and the newest one: neither waits for the other, and no disk fills.
FILES_KEPT = 2


class TrialDrained(TrialStopped):
    """The worker leaves: the trial is saved, and goes on elsewhere."""


class WorkerTrial(Trial):
    """A leased trial in its training process.

    Args:
        lease: what to run.
        place: the attempt's folder; a checkpoint in it is resumed from.
        spool: takes what the trial tells.
        orders: what the agent wants of the trial.
        device: `cuda` when the slot has a GPU.
        checkpoint_every_s: the least time between two checkpoints; 0: one after each step, whatever it costs.
    """

    def __init__(
        self,
        lease: Lease,
        attempt_folder: AttemptFolder,
        *,
        spool: SpoolWriter,
        orders: OrderReceiver,
        device: Literal["cpu", "cuda"] = "cpu",
        checkpoint_every_s: float = 10.0,
    ) -> None:
        super().__init__(Assignment.of(lease), folder=attempt_folder.scratch, device=device)
        self.is_drained = False
        """Whether the function was told to leave off; one that catches this and returns has not run to its end."""
        self._attempt_folder = attempt_folder
        self._spool = spool
        self._orders = orders
        self._checkpoint_every_s = checkpoint_every_s
        self._inherits = lease.resume_from is not None
        self._is_segment = lease.until is not None
        self._leaves_checkpoint = lease.until is not None and lease.until < (lease.steps or 0)
        self._model: Any = None
        self._best = BestModel(lease)
        self._saved_at = time.monotonic()
        self._save_cost_s = 0.0
        self._n_files = 0
        self._files: dict[str, list[Path]] = {}

    def finish(self) -> None:
        """Hand over what is still in memory; called once, when the function has returned or stopped."""
        self._send_best_model()
        self._end_watch()

    def leave(self) -> None:
        """The function has failed: hand over what tells why. Raises nothing."""
        self._end_watch()

    def load_best(self, model: Any) -> bool:
        """As a trial does; the copy lies in this process's memory until the trial ends."""
        return self._best.load_into(model)

    def _begin(self, count: int, stateful: Mapping[str, Any]) -> int:
        self._model = stateful.get("model")
        self._saved_at = time.monotonic()
        if self._is_segment and not stateful:
            raise _nothing_passed()
        if not stateful or not self._attempt_folder.resume.exists():
            return 0
        if self._inherits:
            from tunefleet_worker.parent_checkpoint import load_parent_checkpoint

            checkpoint = load_parent_checkpoint(self._attempt_folder.resume, objects=stateful)
        else:
            from tunefleet_worker.checkpoints import load_checkpoint  # imports torch, which not every trial needs

            checkpoint = load_checkpoint(self._attempt_folder.resume, objects=stateful)
            self._best.restore(checkpoint.progress["best"])
            self._watch.restore(checkpoint.progress.get("watch"))  # checkpoints of older workers have none
        self._step = self._reported_step = checkpoint.step
        self._merged = dict(checkpoint.progress["metrics"])
        print(f"resumed behind step {checkpoint.step} ({count} in all)", flush=True)
        return checkpoint.step + 1

    def _between(self, step: int, count: int, stateful: Mapping[str, Any]) -> None:
        order = self._orders.newest()
        if order is not None and order.kind == "stop":
            self._obey(order)
        is_last = step == count - 1
        if order is not None or (self._leaves_checkpoint if is_last else self._checkpoint_is_due()):
            self._save(step, stateful)
        if order is not None and not is_last:  # behind the last step the function is about to return: let it
            self._obey(order)

    def check(self) -> None:
        """Obey an order where there is no boundary to wait for, and nothing to save. Raises TrialStopped."""
        order = self._orders.newest()
        if order is not None:
            self._obey(order)

    def _record(self, step: int, metrics: dict[str, float]) -> None:
        if self._model is not None:
            self._best.consider(step, metrics, model=self._model)
        self._spool.append(ReportRecord(step, metrics))
        failpoint("child.after_report")
        self._orders.notify()
        order = self._orders.newest()
        if order is not None and (order.kind == "stop" or not self._looping):  # the others wait for the epoch's end
            self.check()

    def _obey(self, order: Order) -> NoReturn:
        if order.kind != "drain":
            raise TrialStopped(order.reason, order.message)
        self.is_drained = True
        raise TrialDrained("drain")

    def _keep(self, name: str, file: Path) -> None:
        self._send_file(name, lambda path: shutil.copyfile(file, path))

    def _checkpoint_is_due(self) -> bool:
        if self._checkpoint_every_s == 0:
            return True
        return time.monotonic() - self._saved_at >= max(self._checkpoint_every_s, COST_FACTOR * self._save_cost_s)

    def _save(self, step: int, stateful: Mapping[str, Any]) -> None:
        """Write a checkpoint; the model that belongs to it goes before it."""
        if not stateful:
            return
        from tunefleet_worker.checkpoints import save_checkpoint

        begin = time.monotonic()
        self._send_best_model()
        progress = {"best": self._best.progress, "metrics": self._merged, "watch": self._watch.state()}
        failpoint("child.before_checkpoint")
        self._send_file(CHECKPOINT, lambda path: save_checkpoint(path, step=step, objects=stateful, progress=progress))
        failpoint("child.after_checkpoint")
        self._saved_at = time.monotonic()
        self._save_cost_s = self._saved_at - begin

    def _send_best_model(self) -> None:
        self._send_file(MODEL, self._best.write)

    def _send_file(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` make a file, and record it as the newest of its name; nothing when it answers False."""
        path = self._attempt_folder.files / f"{self._n_files}-{name}"
        if write(path) is False:
            return
        self._n_files += 1
        self._spool.append(FileRecord(name, path.name))
        self._orders.notify()
        kept = self._files.setdefault(name, [])
        kept.append(path)
        while len(kept) > FILES_KEPT:
            kept.pop(0).unlink(missing_ok=True)


def _nothing_passed() -> InvalidInput:
    rule = (
        "population-based training goes on from checkpoints, and nothing was passed that one could hold; pass what "
        "training changes, such as trial.epochs(model=model, optimizer=optimizer)"
    )
    return InvalidInput([Problem("epochs", rule)])

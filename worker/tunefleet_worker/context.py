"""The trial that a training function gets on a worker: it writes to the spool, saves checkpoints, obeys orders."""

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

# A checkpoint is due after this many times its cost: checkpoints take at most 2 % of the time.
COST_FACTOR = 50
# For each artifact, the file in upload and the newest one: neither waits for the other, and the disk does not fill.
MAX_FILES_PER_NAME = 2


class TrialDrained(TrialStopped):
    """The worker drains: the trial is saved, and another attempt continues it."""


class WorkerTrial(Trial):
    """A leased trial in its training process.

    Args:
        lease: the trial to run.
        attempt_folder: the attempt's folder; the trial resumes from the checkpoint in it, if any.
        spool: receives the trial's records.
        orders: the agent's orders.
        device: `cuda` when the slot has a GPU.
        checkpoint_every_s: minimum time between two checkpoints; 0: one after each step, whatever it costs.
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
        """True after the function was ordered to drain; even if it then returns, it has not run to its end."""
        self._attempt_folder = attempt_folder
        self._spool = spool
        self._orders = orders
        self._checkpoint_every_s = checkpoint_every_s
        self._resumes_from_other = lease.resume_from is not None
        self._is_segment = lease.until is not None
        self._leaves_checkpoint = lease.until is not None and lease.until < (lease.steps or 0)
        self._model: Any = None
        self._best = BestModel(lease)
        self._saved_at = time.monotonic()
        self._save_cost_s = 0.0
        self._n_files = 0
        self._files: dict[str, list[Path]] = {}

    def finish(self) -> None:
        """Write the best model and the telemetry; call it once, after the function has returned or stopped."""
        self._send_best_model()
        self._end_watch()

    def abort(self) -> None:
        """Write the telemetry after the function has failed. Raises nothing."""
        self._end_watch()

    def load_best(self, model: Any) -> bool:
        """See `Trial.load_best`; the copy stays in this process's memory until the trial ends."""
        return self._best.load_into(model)

    def _begin(self, count: int, stateful: Mapping[str, Any]) -> int:
        self._model = stateful.get("model")
        self._saved_at = time.monotonic()
        if self._is_segment and not stateful:
            raise _nothing_passed()
        if not stateful or not self._attempt_folder.resume.exists():
            return 0
        if self._resumes_from_other:
            from tunefleet_worker.parent_checkpoint import load_parent_checkpoint

            checkpoint = load_parent_checkpoint(self._attempt_folder.resume, objects=stateful)
        else:
            from tunefleet_worker.checkpoints import load_checkpoint  # imports torch, which not every trial needs

            checkpoint = load_checkpoint(self._attempt_folder.resume, objects=stateful)
            self._best.restore(checkpoint.progress["best"])
            self._watch.restore(checkpoint.progress.get("watch"))  # checkpoints of older workers have none
        self._step = self._reported_step = checkpoint.step
        self._merged = dict(checkpoint.progress["metrics"])
        print(f"resumed after step {checkpoint.step} of {count}", flush=True)
        return checkpoint.step + 1

    def _between(self, step: int, count: int, stateful: Mapping[str, Any]) -> None:
        order = self._orders.newest()
        if order is not None and order.kind == "stop":
            self._obey(order)
        is_last = step == count - 1
        if order is not None or (self._leaves_checkpoint if is_last else self._checkpoint_is_due()):
            self._save(step, stateful)
        if order is not None and not is_last:  # after the last step the function returns by itself
            self._obey(order)

    def check(self) -> None:
        """Obey an order at once, without a checkpoint. Raises TrialStopped."""
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
        # Inside `epochs`, orders other than a stop wait for the end of the epoch.
        if order is not None and (order.kind == "stop" or not self._looping):
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
        """Write a checkpoint, after the best model that belongs to it."""
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
        """Call `write` to make a file, and record it as the newest of its name, unless `write` returns False."""
        path = self._attempt_folder.files / f"{self._n_files}-{name}"
        if write(path) is False:
            return
        self._n_files += 1
        self._spool.append(FileRecord(name, path.name))
        self._orders.notify()
        files = self._files.setdefault(name, [])
        files.append(path)
        while len(files) > MAX_FILES_PER_NAME:
            files.pop(0).unlink(missing_ok=True)


def _nothing_passed() -> InvalidInput:
    rule = (
        "population-based training continues from checkpoints, and no object was passed to save in one; pass what "
        "training changes, such as trial.epochs(model=model, optimizer=optimizer)"
    )
    return InvalidInput([Problem("epochs", rule)])

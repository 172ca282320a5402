"""The runner of one attempt, in a thread: prepare, start, deliver, delete."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunefleet.client.transport import Transport
from tunefleet.errors import MasterUnreachable, TunefleetError
from tunefleet.failpoints import failpoint
from tunefleet.logs import about
from tunefleet.protocol import Failure, Lease
from tunefleet.study.spec import BUNDLE_PREFIX, TaskRun
from tunefleet_worker.agent.checkpoint_cache import CheckpointCache
from tunefleet_worker.agent.child_launcher import Child, ChildLauncher
from tunefleet_worker.agent.delivery import AttemptRefused, Delivery
from tunefleet_worker.agent.devices import Slots
from tunefleet_worker.agent.events import (
    ChildEnded,
    ChildStarted,
    Delivered,
    Event,
    Key,
    LeaseLost,
    StopOrdered,
)
from tunefleet_worker.attempt_folder import AttemptFolder, StoredLease
from tunefleet_worker.bundles import BundleCache
from tunefleet_worker.failures import end_of_exit
from tunefleet_worker.job import Job
from tunefleet_worker.logfile import CappedLog
from tunefleet_worker.orders import Order
from tunefleet_worker.spool import End, SpoolWriter, read_end

REPORT_GAP_S = 0.2  # between two batches of reports: a trial with short epochs sends at most five requests a second
LOG_POLL_S = 1.0  # interval between two checks of the log
REFUSAL_RETRY_S = 10.0  # between two requests to a master that answers with an error

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerResources:
    """The resources that all attempts of an agent share."""

    transport: Transport
    """Retries until the agent leaves."""
    attempts: Path
    launcher: ChildLauncher
    bundles: BundleCache
    checkpoints: CheckpointCache
    slots: Slots
    threads: int
    checkpoint_every_s: float
    allow_code: bool
    emit: Callable[[Event], None]
    leaving: threading.Event
    """Set when the agent leaves."""

    def pause(self, error: TunefleetError) -> None:
        """Wait before a retry; raises MasterUnreachable when the agent leaves."""
        if self.leaving.is_set():
            raise MasterUnreachable(str(error)) from error
        _log.warning("the master answered: %s Retrying every %.0f s.", error, REFUSAL_RETRY_S)
        if self.leaving.wait(REFUSAL_RETRY_S):
            raise MasterUnreachable(str(error)) from error


class CodeNotAllowed(TunefleetError):
    """The study needs a worker that runs users' code, and this worker does not."""

    code = "code_not_allowed"


class Runner:
    """Runs one attempt; all methods but `join` return at once, and results arrive as events.

    Args:
        lease: the attempt's lease.
        resources: shared by all attempts.
        slot: the slot of its process; None: an attempt of an earlier agent, without a process.
    """

    def __init__(self, lease: Lease, resources: RunnerResources, *, slot: int | None) -> None:
        self.key = Key.of(lease)
        self._name = f"trial {lease.number} of {lease.study}"
        self._fields = about(study=lease.study, trial=lease.number, trial_id=lease.trial_id, attempt=lease.attempt)
        self._lease = lease
        self._resources = resources
        self._slot = slot
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._is_starting = False
        self._is_killed = False
        self._end: End | None = None
        self._wake = threading.Event()  # set when the thread has something to do
        self._closing = threading.Event()  # set when the end is known, or the attempt was dropped
        self._dropped = threading.Event()

        name = f"attempt-{self.key.trial_id}-{self.key.attempt}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def begin(self) -> None:
        """Start the thread."""
        self._log_progress(
            "of an earlier run is being delivered" if self._slot is None else f"starts in slot {self._slot}"
        )
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """True until the thread has finished."""
        return self._thread.is_alive()

    def join(self, limit_s: float) -> None:
        """Wait at most this long for the thread."""
        self._thread.join(limit_s)

    def send_order(self, order: Order) -> None:
        """Send an order to the process, if it runs."""
        if self._child is not None:
            self._child.send_order(order)

    def kill(self) -> None:
        """Kill the process; ChildEnded follows, also when the process was not started."""
        with self._lock:
            is_first, self._is_killed = not self._is_killed, True
            child, is_starting = self._child, self._is_starting
        if child is not None:
            child.kill()
        elif is_first and not is_starting:
            self._resources.emit(ChildEnded(self.key, None, End.released("preempted")))

    def deliver(self, end: End) -> None:
        """Deliver the rest of the spool and then this end; Delivered follows."""
        self._end = end
        self._closing.set()
        self._wake.set()

    def drop(self) -> None:
        """Stop the delivery, and delete the attempt's files."""
        self._dropped.set()
        self._closing.set()
        self._wake.set()

    def _run(self) -> None:
        try:
            folder, log = self._start() if self._slot is not None else self._adopt()
            self._deliver(self._delivery(folder, log), folder)
            self._dropped.wait()
            if log is not None:
                log.close()
            folder.remove()
        except MasterUnreachable:  # the agent leaves; the next agent delivers the folder
            return
        except Exception:  # our own defect in one attempt must not block the slot or other trials
            if self._resources.leaving.is_set():  # the agent has closed resources that this thread uses
                return
            _log.exception("%s: internal error of the worker", self._name, extra=self._fields)
            self.kill()
            self._resources.emit(Delivered(self.key, End.released("lost"), None))

    def _adopt(self) -> tuple[AttemptFolder, None]:
        return AttemptFolder.of(self._resources.attempts, self._lease), None

    def _start(self) -> tuple[AttemptFolder, CappedLog | None]:
        """Start the process; if that fails, end the attempt with the reason."""
        resources, lease = self._resources, self._lease
        folder, log = AttemptFolder.of(resources.attempts, lease), None
        try:
            AttemptFolder.create(resources.attempts, StoredLease(url=resources.transport.url, lease=lease))
            log = CappedLog(folder.log)
            job = self._make_job(folder)
        except MasterUnreachable as error:
            if resources.leaving.is_set():
                raise
            _log.warning("%s could not be started: %s", self._name, error, extra=self._fields)
            self._end_without_process(End.released("lost"))
            return folder, log
        except (TunefleetError, OSError) as error:
            text = f"the trial could not be started: {error}"
            self._end_without_process(End.failed(Failure.ERROR, text, exception=f"{type(error).__name__} at start"))
            return folder, log
        if self._enter_start():
            self._launch(job, folder, log)
        return folder, log

    def _enter_start(self) -> bool:
        """Mark the start as begun, so that `_launch` carries out a later kill; return False after an earlier kill."""
        with self._lock:
            self._is_starting = not self._is_killed
            return self._is_starting

    def _launch(self, job: Job, folder: AttemptFolder, log: CappedLog) -> None:
        # Not under the lock: the forkserver may import for seconds, and `kill` must not wait for it.
        child = self._resources.launcher.start(
            job,
            log,
            on_record=self._wake.set,
            on_end=lambda code, out_of_memory: self._child_ended(folder, code, out_of_memory),
        )
        with self._lock:
            self._child, self._is_starting = child, False
            is_killed = self._is_killed
        if is_killed:
            child.kill()
        failpoint("agent.after_child_start")
        self._resources.emit(ChildStarted(self.key))

    def _make_job(self, folder: AttemptFolder) -> Job:
        """Fetch code and checkpoint, and return the job of the process."""
        resources, lease = self._resources, self._lease
        code = getattr(lease.run, "code", None)
        if not isinstance(lease.run, TaskRun) and not resources.allow_code:
            raise CodeNotAllowed("this worker runs built-in tasks only.", hint="Start it with --allow-code.")
        code_folder = None
        if code is not None:
            code_folder = resources.bundles.folder_of(code.removeprefix(BUNDLE_PREFIX))
        resources.checkpoints.fetch(lease, folder.resume, transport=resources.transport)
        return Job(
            url=resources.transport.url,
            lease_json=lease.model_dump_json(),
            folder=folder.path,
            code=code_folder,
            gpus=resources.slots.gpus[self._slot or 0],
            threads=resources.threads,
            checkpoint_every_s=resources.checkpoint_every_s,
        )

    def _end_without_process(self, end: End) -> None:
        with self._lock:
            is_first, self._is_killed = not self._is_killed, True
        if is_first:
            self._resources.emit(ChildEnded(self.key, None, end))

    def _child_ended(self, folder: AttemptFolder, code: int | None, out_of_memory: bool) -> None:
        end = read_end(folder.spool)
        failpoint("agent.after_child_end")
        self._resources.emit(ChildEnded(self.key, end, end_of_exit(code, out_of_memory=out_of_memory)))

    def _delivery(self, folder: AttemptFolder, log: CappedLog | None) -> Delivery:
        resources = self._resources
        return Delivery(
            resources.transport, self._lease, folder=folder, log=log, cache=resources.checkpoints, pause=resources.pause
        )

    def _deliver(self, delivery: Delivery, folder: AttemptFolder) -> None:
        """Deliver records until the end is delivered, or the master refuses the attempt."""
        try:
            if self._slot is None:
                delivery.check_trial()
            while not self._closing.is_set():
                self._wake.wait(LOG_POLL_S)
                self._wake.clear()
                self._send_pending(delivery)
            if self._end is not None and not self._dropped.is_set():
                self._send_end(delivery, self._end, folder)
        except AttemptRefused as error:
            _log.warning("%s was abandoned: %s", self._name, error, extra=self._fields)
            self._resources.emit(LeaseLost(self.key))
            self._closing.wait()
            if self._end is not None:
                self._resources.emit(Delivered(self.key, self._end, None))

    def _send_pending(self, delivery: Delivery) -> None:
        stop = delivery.catch_up()
        delivery.send_log_when_due()
        if stop is not None:
            self._resources.emit(StopOrdered(self.key, stop))
        self._closing.wait(REPORT_GAP_S)

    def _send_end(self, delivery: Delivery, end: End, folder: AttemptFolder) -> None:
        _record_end(end, folder)
        delivery.catch_up()
        answer = delivery.finish(end)
        failure = f" ({answer.failure}: {end.message})" if answer.failure else ""
        self._log_progress(f"{end.outcome}, now {answer.state}{failure}")
        self._resources.emit(Delivered(self.key, end, answer))

    def _log_progress(self, text: str) -> None:
        _log.info("%s: attempt %d %s", self._name, self.key.attempt, text, extra=self._fields)


def _record_end(end: End, folder: AttemptFolder) -> None:
    """Write an end to the spool that the process did not write itself, in case this agent is killed, too."""
    with contextlib.suppress(OSError):  # on a full disk the end is only delivered
        if read_end(folder.spool) is None:
            folder.free_reserve()
            spool = SpoolWriter(folder.spool)
            spool.append(end)
            spool.close()

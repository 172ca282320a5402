"""One attempt from its lease to its end, in a thread of its own: prepare, start, deliver, forget."""

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
from tunefleet_worker.agent.delivery import Delivery, NotWanted
from tunefleet_worker.agent.devices import Slots
from tunefleet_worker.agent.events import ChildEnded, ChildStarted, Delivered, Directed, Event, Key, LeaseGone
from tunefleet_worker.attempt_folder import AttemptFolder, StoredLease
from tunefleet_worker.bundles import BundleCache
from tunefleet_worker.failures import end_of_exit
from tunefleet_worker.job import Job
from tunefleet_worker.logfile import CappedLog
from tunefleet_worker.orders import Order
from tunefleet_worker.spool import End, SpoolWriter, end_in

REPORT_GAP_S = 0.2  # between two batches of reports: a trial of short epochs costs its master five requests a second
LOOK_S = 1.0  # how often a log is looked at
REFUSED_S = 10.0  # before a master that refuses the token is asked again

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerResources:
    """What all attempts of an agent share."""

    transport: Transport
    """Tries for ever, until the agent leaves."""
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
    """Set when the agent goes."""

    def pause(self, error: TunefleetError) -> None:
        """Wait before the master is asked again; raises MasterUnreachable when the agent goes."""
        if self.leaving.is_set():
            raise MasterUnreachable(str(error)) from error
        _log.warning("the master answers: %s Asking again every %.0f s.", error, REFUSED_S)
        if self.leaving.wait(REFUSED_S):
            raise MasterUnreachable(str(error)) from error


class CodeNotAllowed(TunefleetError):
    """The study runs code of its user's, and this worker does not."""

    code = "code_not_allowed"


class Runner:
    """Looks after one attempt; its methods return at once, and what comes of them are events.

    Args:
        lease: of the attempt.
        shop: what it works with.
        slot: where its process runs; None: an earlier agent's attempt, without a process.
    """

    def __init__(self, lease: Lease, shop: RunnerResources, *, slot: int | None) -> None:
        self.key = Key.of(lease)
        self._name = f"trial {lease.number} of {lease.study}"
        self._fields = about(study=lease.study, trial=lease.number, trial_id=lease.trial_id, attempt=lease.attempt)
        self._lease = lease
        self._shop = shop
        self._slot = slot
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._is_starting = False
        self._is_killed = False
        self._end: End | None = None
        self._bell = threading.Event()  # there is something to do
        self._closing = threading.Event()  # the end is known, or nobody wants it any more
        self._dropped = threading.Event()

        name = f"attempt-{self.key.trial_id}-{self.key.attempt}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def begin(self) -> None:
        """Start the thread."""
        self._say("of an earlier run is delivered" if self._slot is None else f"starts in slot {self._slot}")
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether there is still something to do."""
        return self._thread.is_alive()

    def join(self, limit_s: float) -> None:
        """Wait until all is done, but not longer."""
        self._thread.join(limit_s)

    def tell(self, order: Order) -> None:
        """Give the process an order."""
        if self._child is not None:
            self._child.tell(order)

    def kill(self) -> None:
        """End the process; ChildEnded follows, also when it has not been started yet."""
        with self._lock:
            is_first, self._is_killed = not self._is_killed, True
            child, is_starting = self._child, self._is_starting
        if child is not None:
            child.kill()
        elif is_first and not is_starting:
            self._shop.emit(ChildEnded(self.key, None, End.released("preempted")))

    def deliver(self, end: End) -> None:
        """Deliver what is left, and then this end; Delivered follows."""
        self._end = end
        self._closing.set()
        self._bell.set()

    def drop(self) -> None:
        """Deliver nothing more, and delete the attempt's files."""
        self._dropped.set()
        self._closing.set()
        self._bell.set()

    def _run(self) -> None:
        try:
            place, log = self._start() if self._slot is not None else self._adopt()
            self._deliver(self._delivery(place, log), place)
            self._dropped.wait()
            if log is not None:
                log.close()
            place.remove()
        except MasterUnreachable:  # the agent leaves; the folder stays for the next one
            return
        except Exception:  # a fault of ours in one attempt must not cost the slot, nor the other trials
            if self._shop.leaving.is_set():  # the agent has closed what this thread was about to use
                return
            _log.exception("%s: a fault of the worker", self._name, extra=self._fields)
            self.kill()
            self._shop.emit(Delivered(self.key, End.released("lost"), None))

    def _adopt(self) -> tuple[AttemptFolder, None]:
        return AttemptFolder.of(self._shop.attempts, self._lease), None

    def _start(self) -> tuple[AttemptFolder, CappedLog | None]:
        """Start the process; when that cannot be done, the attempt ends with the reason."""
        shop, lease = self._shop, self._lease
        place, log = AttemptFolder.of(shop.attempts, lease), None
        try:
            AttemptFolder.create(shop.attempts, StoredLease(url=shop.transport.url, lease=lease))
            log = CappedLog(place.log)
            job = self._job(place)
        except MasterUnreachable as error:
            if shop.leaving.is_set():
                raise
            _log.warning("%s could not be started: %s", self._name, error, extra=self._fields)
            self._end_without_process(End.released("lost"))
            return place, log
        except (TunefleetError, OSError) as error:
            text = f"the trial could not be started: {error}"
            self._end_without_process(End.failed(Failure.ERROR, text, exception=f"{type(error).__name__} at start"))
            return place, log
        if self._enter_start():
            self._launch(job, place, log)
        return place, log

    def _enter_start(self) -> bool:
        """From here on a kill is the starter's to carry out; False when there was one already."""
        with self._lock:
            self._is_starting = not self._is_killed
            return self._is_starting

    def _launch(self, job: Job, place: AttemptFolder, log: CappedLog) -> None:
        # Not under the lock: the forkserver may import for seconds, and whoever kills meanwhile must not wait for it.
        child = self._shop.launcher.start(
            job,
            log,
            on_bell=self._bell.set,
            on_end=lambda code, out_of_memory: self._child_ended(place, code, out_of_memory),
        )
        with self._lock:
            self._child, self._is_starting = child, False
            is_killed = self._is_killed
        if is_killed:
            child.kill()
        failpoint("agent.after_child_start")
        self._shop.emit(ChildStarted(self.key))

    def _job(self, place: AttemptFolder) -> Job:
        """Fetch what the process needs."""
        shop, lease = self._shop, self._lease
        code = getattr(lease.run, "code", None)
        if not isinstance(lease.run, TaskRun) and not shop.allow_code:
            raise CodeNotAllowed("this worker runs built-in tasks only.", hint="Start it with --allow-code.")
        folder = None
        if code is not None:
            folder = shop.bundles.folder_of(code.removeprefix(BUNDLE_PREFIX))
        shop.checkpoints.fetch(lease, place.resume, transport=shop.transport)
        return Job(
            url=shop.transport.url,
            lease_json=lease.model_dump_json(),
            folder=place.path,
            code=folder,
            gpus=shop.slots.gpus[self._slot or 0],
            threads=shop.threads,
            checkpoint_every_s=shop.checkpoint_every_s,
        )

    def _end_without_process(self, end: End) -> None:
        with self._lock:
            is_first, self._is_killed = not self._is_killed, True
        if is_first:
            self._shop.emit(ChildEnded(self.key, None, end))

    def _child_ended(self, place: AttemptFolder, code: int | None, out_of_memory: bool) -> None:
        end = end_in(place.spool)
        failpoint("agent.after_child_end")
        self._shop.emit(ChildEnded(self.key, end, end_of_exit(code, out_of_memory=out_of_memory)))

    def _delivery(self, place: AttemptFolder, log: CappedLog | None) -> Delivery:
        shop = self._shop
        return Delivery(shop.transport, self._lease, place=place, log=log, cache=shop.checkpoints, pause=shop.pause)

    def _deliver(self, delivery: Delivery, place: AttemptFolder) -> None:
        """Deliver until the end is delivered, or nobody wants it."""
        try:
            if self._slot is None:
                delivery.check_trial()
            while not self._closing.is_set():
                self._bell.wait(LOOK_S)
                self._bell.clear()
                self._send_news(delivery)
            if self._end is not None and not self._dropped.is_set():
                self._send_end(delivery, self._end, place)
        except NotWanted as error:
            _log.warning("%s is given up: %s", self._name, error, extra=self._fields)
            self._shop.emit(LeaseGone(self.key))
            self._closing.wait()
            if self._end is not None:
                self._shop.emit(Delivered(self.key, self._end, None))

    def _send_news(self, delivery: Delivery) -> None:
        stop = delivery.catch_up()
        delivery.send_log_when_due()
        if stop is not None:
            self._shop.emit(Directed(self.key, stop))
        self._closing.wait(REPORT_GAP_S)

    def _send_end(self, delivery: Delivery, end: End, place: AttemptFolder) -> None:
        _record_end(end, place)
        delivery.catch_up()
        answer = delivery.finish(end)
        failure = f" ({answer.failure}: {end.message})" if answer.failure else ""
        self._say(f"{end.outcome}, now {answer.state}{failure}")
        self._shop.emit(Delivered(self.key, end, answer))

    def _say(self, text: str) -> None:
        _log.info("%s: attempt %d %s", self._name, self.key.attempt, text, extra=self._fields)


def _record_end(end: End, place: AttemptFolder) -> None:
    """Write an end that the process did not write itself to its spool, for the case that this agent dies, too."""
    with contextlib.suppress(OSError):  # on a full disk it is delivered all the same
        if end_in(place.spool) is None:
            place.free_reserve()
            spool = SpoolWriter(place.spool)
            spool.append(end)
            spool.close()

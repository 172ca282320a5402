"""Build an agent from its settings."""

from __future__ import annotations

import logging
import os
import queue
import re
import socket
import threading
from pathlib import Path

from pydantic import Field

from tunefleet import __version__
from tunefleet.client.transport import Transport, route
from tunefleet.logs import LogFormat
from tunefleet.model import Model
from tunefleet.names import Name
from tunefleet.protocol import WorkerFacts
from tunefleet.protocol.workers import MAX_REST_S
from tunefleet_worker import child_entry
from tunefleet_worker.agent.agent import Agent, Identity
from tunefleet_worker.agent.checkpoint_cache import CheckpointCache
from tunefleet_worker.agent.child_launcher import ChildLauncher
from tunefleet_worker.agent.circuit_breaker import FIRST_COOLDOWN_S, MAX_COOLDOWN_FACTOR
from tunefleet_worker.agent.devices import Slots
from tunefleet_worker.agent.events import Event
from tunefleet_worker.agent.runner import RunnerResources
from tunefleet_worker.agent.state import DRAIN_S, Limits
from tunefleet_worker.agent.worker_folder import WorkerFolder
from tunefleet_worker.bundles import BundleCache

SPARE_CHECKPOINTS = 2  # in addition to one for each slot: for released trials that may come back


class AgentSettings(Model):
    """The settings of a worker, from the command line."""

    url: str
    token: str | None = None
    name: Name
    labels: tuple[Name, ...] = Field(default=(), max_length=20)
    folder: Path | None = None
    threads: int | None = None
    """CPU threads of one trial; None: the number of cores divided by the number of slots."""
    checkpoint_every_s: float = Field(default=10.0, ge=0)
    preload: bool = True
    """Import torch before the first trial."""
    allow_code: bool = False
    log_format: LogFormat = "text"
    study: Name | None = None
    """Take trials of this study only; None: of every study that the worker is eligible for."""
    exit_when_idle_s: float | None = Field(default=None, ge=0)
    drain_within_s: float = Field(default=DRAIN_S, ge=1)
    cooldown_s: float = Field(default=FIRST_COOLDOWN_S, gt=0, le=MAX_REST_S / MAX_COOLDOWN_FACTOR)

    @property
    def limits(self) -> Limits:
        """The time limits for the agent's state machine."""
        return Limits(self.exit_when_idle_s, self.drain_within_s, self.cooldown_s)


_log = logging.getLogger(__name__)


def default_name() -> str:
    """Return the host name with all characters replaced that a worker's name cannot have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname()).strip("-_")[:100] or "worker"


def default_folder(name: str) -> Path:
    """Return the default folder of the worker with this name."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "tunefleet" / f"worker-{name}"


def assemble(settings: AgentSettings, slots: Slots) -> Agent:
    """Build the agent, and lock its folder.

    Raises:
        InvalidInput: the URL is not valid.
        FolderTaken: another worker runs in the folder, or the folder cannot be used.
    """
    leaving = threading.Event()
    transport = Transport(settings.url, settings.token, retry_for_s=None, stop=leaving)
    folder = WorkerFolder((settings.folder or default_folder(settings.name)).expanduser().absolute())
    folder.lock()
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    resources = RunnerResources(
        transport=transport,
        attempts=folder.attempts,
        launcher=ChildLauncher(child_entry.run_job, preload=settings.preload),
        bundles=BundleCache(
            folder.bundles, lambda sha256, to: transport.download(route("bundles", sha256), to, sha256=sha256)
        ),
        checkpoints=CheckpointCache(folder.checkpoints, keep=slots.count + SPARE_CHECKPOINTS),
        slots=slots,
        threads=settings.threads or max(1, _cores() // slots.count),
        checkpoint_every_s=settings.checkpoint_every_s,
        allow_code=settings.allow_code,
        emit=inbox.put,
        leaving=leaving,
    )
    noun = "slot" if slots.count == 1 else "slots"
    _log.info("worker %s: %d %s (%s) for %s", settings.name, slots.count, noun, slots.device, transport.url)
    identity = Identity(settings.name, _facts(settings, slots))
    return Agent(identity, folder, resources=resources, inbox=inbox, limits=settings.limits)


def _facts(settings: AgentSettings, slots: Slots) -> WorkerFacts:
    return WorkerFacts(
        host=socket.gethostname()[:200],
        device=slots.device[:200],
        slots=slots.count,
        gpus_per_slot=slots.gpus_per_slot,
        labels=settings.labels,
        allow_code=settings.allow_code,
        preflight=True,
        study=settings.study,
        version=__version__,
    )


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

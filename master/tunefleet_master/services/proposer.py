"""The process in which samplers think, so that a fit delays no request, takes no lock, and can be ended.

It holds the histories of the studies that it proposes for. The planner sends it what has happened since, and then asks
for proposals; when the process had to be ended, the next one is sent everything.
"""

from __future__ import annotations

import logging
import multiprocessing
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import cast

from tunefleet.errors import TunefleetError
from tunefleet.spec import StudySpec
from tunefleet_master.search import registry
from tunefleet_master.search.history import Change, Edit, History, Prior
from tunefleet_master.search.sampler import Sampler, Suggestions
from tunefleet_master.services import histories

TIME_LIMIT_S = 60.0
"""For one call; the slowest sampler takes seconds for a fleet of workers that all ask at once."""

MAX_STUDIES = 200
"""Whose histories are held; the one that was asked for the longest time ago is forgotten first."""

log = logging.getLogger(__name__)


class SamplerFailed(TunefleetError):
    """The sampler raised an error, or took longer than it may."""

    code = "sampler_failed"


@dataclass(frozen=True, slots=True)
class Begin:
    """A study whose history is sent from its beginning."""

    study_id: int
    sampler: str
    spec: StudySpec


@dataclass(frozen=True, slots=True)
class Tell:
    """What has happened in a study since the last time."""

    study_id: int
    changes: Sequence[Change | Edit | Prior]


@dataclass(frozen=True, slots=True)
class Ask:
    """Proposals are wanted."""

    study_id: int
    position: int
    n: int


class Proposer:
    """The process, started when somebody asks and again after it was ended. Not for several threads at once.

    Args:
        time_limit_s: for one call.
    """

    def __init__(self, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._time_limit_s = time_limit_s
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._seen: OrderedDict[int, int] = OrderedDict()

    def seen(self, study_id: int) -> int:
        """The last event of the study that the process knows; 0: it does not know the study."""
        return self._seen.get(study_id, 0)

    def begin(self, begin: Begin) -> None:
        """Let the process begin a study's history; what follows is told from the first event on."""
        while len(self._seen) >= MAX_STUDIES:
            self._call(self._seen.popitem(last=False)[0])
        self._call(begin)

    def tell(self, tell: Tell, up_to: int) -> None:
        """Tell what has happened, up to an event."""
        self._call(tell)
        self._seen[tell.study_id] = up_to

    def ask(self, ask: Ask) -> Suggestions:
        """Proposals.

        Raises:
            SamplerFailed: with the traceback as its hint.
        """
        self._seen.move_to_end(ask.study_id)
        return cast("Suggestions", self._call(ask))

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
        self._process, self._pipe = None, None
        self._seen.clear()

    def _call(self, message: object) -> object:
        pipe = self._connected()
        try:
            pipe.send(message)
            answered = pipe.poll(self._time_limit_s)
            answer = pipe.recv() if answered else None
        except (OSError, EOFError) as error:
            self.close()
            raise SamplerFailed("The sampler's process has died.") from error
        if not answered:
            self.close()
            raise SamplerFailed(f"The sampler took longer than {self._time_limit_s:g} s.")
        if isinstance(answer, _Failed):
            raise SamplerFailed(f"The sampler failed: {answer.error}", hint=answer.traceback)
        return answer

    def _connected(self) -> Connection:
        if self._process is None or self._pipe is None or not self._process.is_alive():
            self.close()
            context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs,), name="tunefleet-sampler", daemon=True)
            process.start()
            theirs.close()
            self._process, self._pipe = process, ours
        return self._pipe


@dataclass(frozen=True, slots=True)
class _Failed:
    error: str
    traceback: str


def _work(pipe: Connection) -> None:
    """Answer until the master closes the pipe, or is no more."""
    desk = _Desk()
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            answer: object = desk.handle(message)
        except KeyboardInterrupt:
            return
        except Exception as error:
            answer = _Failed(f"{type(error).__name__}: {error}", traceback.format_exc())
        pipe.send(answer)


class _Desk:
    """The studies of the process."""

    def __init__(self) -> None:
        self._studies: dict[int, tuple[Sampler, History]] = {}

    def handle(self, message: object) -> object:
        match message:
            case Begin(study_id, name, spec):
                self._studies[study_id] = (registry.build(name, spec), histories.empty(spec))
            case Tell(study_id, changes):
                self._tell(study_id, changes)
            case Ask(study_id, position, n):
                sampler, history = self._studies[study_id]
                return sampler.suggest(position, n, history=history)
            case int(study_id):
                self._studies.pop(study_id, None)
        return None

    def _tell(self, study_id: int, changes: Sequence[Change | Edit | Prior]) -> None:
        sampler, history = self._studies[study_id]
        history.fold(changes)
        if any(isinstance(change, Edit) for change in changes):
            self._studies[study_id] = (sampler.on(history.axes.space), history)

"""A process that is kept informed of studies and thinks about them, so that it delays no request and takes no lock.

It holds the histories of the studies that it was asked about. Before it is asked again it is told what has happened
since (see `telling`); when it had to be ended, the next one is told everything. It knows no database: importing one
would double the time that it takes to start.
"""

from __future__ import annotations

import multiprocessing
import traceback
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from tunefleet.errors import TunefleetError
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.history import Change, Edit, History, Prior

MAX_STUDIES = 200
"""Whose histories are held; the one that was asked about the longest time ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A study whose history is told from its beginning."""

    study_id: int
    sampler: str
    spec: StudySpec
    history: History
    """The empty one that its first trials belong to."""


@dataclass(frozen=True, slots=True)
class Tell:
    """What has happened in a study since the last time."""

    study_id: int
    changes: Sequence[Change | Edit | Prior]


@dataclass(frozen=True, slots=True)
class Forget:
    """A study that nobody has asked about for long."""

    study_id: int


class RequestHandler(ABC):
    """What the process does with its messages.

    Attributes:
        histories: of the studies that it was told of.
    """

    def __init__(self) -> None:
        self.histories: dict[int, History] = {}

    def handle(self, message: object) -> object:
        """The answer to a message; None to what only informs."""
        match message:
            case Begin():
                self.begin(message)
            case Tell():
                self.tell(message)
            case Forget():
                self.forget(message)
            case _:
                return self.answer(message)
        return None

    def begin(self, begin: Begin) -> None:
        """Take a study up, with nothing known of it."""
        self.histories[begin.study_id] = begin.history

    def tell(self, tell: Tell) -> None:
        """Take in what has happened."""
        self.histories[tell.study_id].fold(tell.changes)

    def forget(self, forget: Forget) -> None:
        """Let a study go."""
        self.histories.pop(forget.study_id, None)

    @abstractmethod
    def answer(self, question: object) -> object:
        """The answer to a question about a study that was told of."""


class HistoryProcess:
    """The process, started when somebody asks and again after it was ended. Not for several threads at once.

    Args:
        desk: the desk in the process, made there.
        name: of the process.
        role: the subject of the sentences that errors say.
        error: the class of these errors.
        time_limit_s: for one call.
    """

    def __init__(
        self, desk: type[RequestHandler], *, name: str, role: str, error: type[TunefleetError], time_limit_s: float
    ) -> None:
        self._desk = desk
        self._name = name
        self._role = role
        self._error = error
        self.time_limit_s = time_limit_s
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._seen: OrderedDict[int, int] = OrderedDict()
        self._is_stopped = False

    def seen(self, study_id: int) -> int:
        """The last event of the study that the process knows; 0: it knows of none, or has died."""
        if self._process is not None and not self._process.is_alive():
            self.close()
        return self._seen.get(study_id, 0)

    def begin(self, begin: Begin) -> None:
        """Let the process begin a study's history; what follows is told from the first event on."""
        while len(self._seen) >= MAX_STUDIES:
            self.call(Forget(self._seen.popitem(last=False)[0]))
        self.call(begin)

    def tell(self, tell: Tell, up_to: int) -> None:
        """Tell what has happened, up to an event."""
        self.call(tell)
        self._seen[tell.study_id] = up_to
        self._seen.move_to_end(tell.study_id)

    def call(self, message: object) -> object:
        """The process's answer.

        Raises:
            TunefleetError: of the class that was given; with the traceback as its hint.
        """
        pipe = self._connected()
        try:
            pipe.send(message)
            answered = pipe.poll(self.time_limit_s)
            answer = pipe.recv() if answered else None
        except (OSError, EOFError) as error:
            self.close()
            raise self._error(f"{self._role}'s process has died.") from error
        if not answered:
            self.close()
            raise self._error(f"{self._role} took longer than {self.time_limit_s:g} s.")
        if isinstance(answer, _Failed):
            raise self._error(f"{self._role} failed: {answer.error}", hint=answer.traceback)
        return answer

    def stop(self) -> None:
        """End the process for good: every call fails from now on, also those of another thread."""
        self._is_stopped = True
        self.close()

    def close(self) -> None:
        """End the process; a call that waits for its answer on another thread fails."""
        process, pipe = self._process, self._pipe
        self._process, self._pipe = None, None
        self._seen.clear()
        if process is not None:
            process.kill()
            process.join()
        if pipe is not None:
            pipe.close()

    def _connected(self) -> Connection:
        if self._is_stopped:
            raise self._error(f"{self._role}'s process was stopped.")
        if self._process is None or self._pipe is None or not self._process.is_alive():
            self.close()
            context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(self._desk, theirs), name=self._name, daemon=True)
            process.start()
            theirs.close()
            self._process, self._pipe = process, ours
            return ours
        return self._pipe


@dataclass(frozen=True, slots=True)
class _Failed:
    error: str
    traceback: str


def _work(kind: type[RequestHandler], pipe: Connection) -> None:
    """Answer until the master closes the pipe, or is no more."""
    desk = kind()
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            message = pipe.recv()
            try:
                answer: object = desk.handle(message)
            except Exception as error:
                answer = _Failed(f"{type(error).__name__}: {error}", traceback.format_exc())
            pipe.send(answer)

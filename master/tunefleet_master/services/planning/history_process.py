"""A child process that holds the histories of studies and computes on them, so that requests and locks never wait.

The master sends it the changes of a study before each request (see `history_sync`), and the whole history after a
restart. The child imports no database code, which would double its start-up time.
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
"""Studies whose histories the process holds; the least recently used one is evicted first."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin the history of a study."""

    study_id: int
    sampler: str
    spec: StudySpec
    history: History
    """An empty history in the space of the study's first trials."""


@dataclass(frozen=True, slots=True)
class Update:
    """Add the changes of a study since the previous update."""

    study_id: int
    changes: Sequence[Change | Edit | Prior]


@dataclass(frozen=True, slots=True)
class Forget:
    """Evict the history of a study."""

    study_id: int


class RequestHandler(ABC):
    """Handles the messages of the master, in the child process.

    Attributes:
        histories: by study id.
    """

    def __init__(self) -> None:
        self.histories: dict[int, History] = {}

    def handle(self, message: object) -> object:
        """Return the answer to a request; None to any other message."""
        match message:
            case Begin():
                self.begin(message)
            case Update():
                self.update(message)
            case Forget():
                self.forget(message)
            case _:
                return self.answer(message)
        return None

    def begin(self, begin: Begin) -> None:
        """Begin the history of a study."""
        self.histories[begin.study_id] = begin.history

    def update(self, update: Update) -> None:
        """Add changes to the history of a study."""
        self.histories[update.study_id].fold(update.changes)

    def forget(self, forget: Forget) -> None:
        """Evict the history of a study."""
        self.histories.pop(forget.study_id, None)

    @abstractmethod
    def answer(self, request: object) -> object:
        """Return the answer to a request about a study with a history."""


class HistoryProcess:
    """The process, started on the first call and again after it ended. Not thread-safe, except for `close` and `stop`.

    Args:
        handler: the class of the handler, created in the process.
        name: of the process.
        role: the subject of error messages, such as "The sampler".
        error: the class of errors.
        time_limit_s: for one call.
    """

    def __init__(
        self, handler: type[RequestHandler], *, name: str, role: str, error: type[TunefleetError], time_limit_s: float
    ) -> None:
        self._handler = handler
        self._name = name
        self._role = role
        self._error = error
        self.time_limit_s = time_limit_s
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._seen: OrderedDict[int, int] = OrderedDict()
        self._is_stopped = False

    def seen(self, study_id: int) -> int:
        """Return the last event in the history of a study; 0: the process has no history of it, or has died."""
        if self._process is not None and not self._process.is_alive():
            self.close()
        return self._seen.get(study_id, 0)

    def begin(self, begin: Begin) -> None:
        """Begin a study's history; the next update starts at the first event."""
        while len(self._seen) >= MAX_STUDIES:
            self.call(Forget(self._seen.popitem(last=False)[0]))
        self.call(begin)

    def update(self, update: Update, up_to: int) -> None:
        """Send the changes up to an event."""
        self.call(update)
        self._seen[update.study_id] = up_to
        self._seen.move_to_end(update.study_id)

    def call(self, message: object) -> object:
        """Send a message and return its answer.

        Raises:
            TunefleetError: the process failed; the class is the given one, the hint is the traceback.
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
        """End the process and let every later call fail."""
        self._is_stopped = True
        self.close()

    def close(self) -> None:
        """End the process; a call that waits on another thread fails."""
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
            context = multiprocessing.get_context("spawn")  # a forked process with threads may hang
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(self._handler, theirs), name=self._name, daemon=True)
            process.start()
            theirs.close()
            self._process, self._pipe = process, ours
            return ours
        return self._pipe


@dataclass(frozen=True, slots=True)
class _Failed:
    error: str
    traceback: str


def _serve(kind: type[RequestHandler], pipe: Connection) -> None:
    """Answer messages until the master closes the pipe or ends."""
    handler = kind()
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            message = pipe.recv()
            try:
                answer: object = handler.handle(message)
            except Exception as error:
                answer = _Failed(f"{type(error).__name__}: {error}", traceback.format_exc())
            pipe.send(answer)

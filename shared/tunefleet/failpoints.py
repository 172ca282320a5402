"""Failpoints: named places at which a test can kill, stop, delay or break this process.

They do nothing unless an environment variable names them:

    TUNEFLEET_FAILPOINTS="agent.after_claim=kill; master.after_commit=kill@3"

Semicolons separate the entries. An entry is `NAME=ACTION`, with the action `kill` (SIGKILL to this process), `stop`
(SIGSTOP), `delay:SECONDS` or `raise`. The suffix `@N` acts on the N-th visit of this process instead of the first. The
suffix `!FILE` acts only in the one process that manages to create the file.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

VARIABLE = "TUNEFLEET_FAILPOINTS"

POINTS: Mapping[str, str] = {
    "agent.after_claim": "leases were granted, and no trial was started",
    "agent.after_child_start": "the training process runs, and this is not recorded",
    "agent.before_beat": "a heartbeat is due",
    "agent.after_beat": "a heartbeat was answered",
    "agent.before_reports": "reports are in the spool and not yet sent",
    "agent.after_reports": "reports were answered",
    "agent.before_upload": "a file is about to be sent",
    "agent.after_upload": "the master stored a file, and it is still on this disk",
    "agent.after_child_end": "the training process exited, and its end was not sent",
    "agent.after_end": "the end was answered, and the attempt's folder still exists",
    "agent.before_release": "an unfinished trial is about to be released",
    "agent.after_release": "an unfinished trial was released",
    "child.after_report": "a report is in the spool",
    "child.before_checkpoint": "a checkpoint is due",
    "child.inside_checkpoint": "a checkpoint is being written, under a temporary name",
    "child.after_checkpoint": "a checkpoint is complete, and the agent knows of it",
    "child.before_end": "the function has returned, and its end is not recorded",
    "child.after_end": "the end is in the spool",
    "master.before_commit": "a transaction is complete, and not committed",
    "master.after_commit": "a transaction is committed, and no request was answered",
    "master.before_publish": "a file was received, and is not in the store yet",
    "master.after_publish": "a file is in the store, and has no row in the database",
}
"""All failpoints, with the state of the process there."""

_ENTRY = re.compile(
    r"(?P<name>[a-z_.]+)=(?P<action>kill|stop|raise|delay:(?P<delay_s>\d+(\.\d+)?))(@(?P<nth>[1-9]\d*))?(!(?P<once>.+))?"
)


class InjectedFault(Exception):
    """Raised by the action `raise`; not a TunefleetError, so that no code handles it as a known error."""


@dataclass(slots=True)
class Trap:
    """The action at one failpoint.

    Attributes:
        action: `kill`, `stop`, `delay` or `raise`.
        delay_s: the length of a delay.
        nth: the visit of this process that triggers the action.
        once: a file; only the process that creates it triggers the action.
    """

    action: str
    delay_s: float = 0.0
    nth: int = 1
    once: str | None = None
    _visits: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def visit(self, name: str) -> None:
        """Count a visit, and act if it is the N-th. Raises InjectedFault if that is the action."""
        if next(self._visits) != self.nth or not self._is_first_process():
            return
        if self.action == "delay":
            time.sleep(self.delay_s)
        elif self.action == "raise":
            raise InjectedFault(name)
        else:
            os.kill(os.getpid(), signal.SIGKILL if self.action == "kill" else signal.SIGSTOP)

    def _is_first_process(self) -> bool:
        if self.once is None:
            return True
        try:
            os.close(os.open(self.once, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True


def parse(text: str) -> dict[str, Trap]:
    """Parse a value of the variable. Raises ValueError for an invalid entry."""
    traps = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        match = _ENTRY.fullmatch(entry)
        if match is None or match["name"] not in POINTS:
            raise ValueError(f"{VARIABLE} has {entry!r}; an entry is NAME=ACTION, with one of: {', '.join(POINTS)}")
        action = match["action"].partition(":")[0]
        delay_s = float(match["delay_s"] or 0)
        traps[match["name"]] = Trap(action, delay_s, nth=int(match["nth"] or 1), once=match["once"])
    return traps


def armed(traps: Mapping[str, Trap]) -> Callable[[str], None]:
    """Return the function that a process calls at each failpoint when these traps are set."""

    def visit(name: str) -> None:
        if (trap := traps.get(name)) is not None:
            trap.visit(name)

    return visit


def _nothing(name: str) -> None:
    """Do nothing: no trap is set."""


_text = os.environ.get(VARIABLE)
traps = parse(_text or "")
"""The traps of this process. Tests may add more if the variable is set, even to an empty string."""
failpoint: Callable[[str], None] = _nothing if _text is None else armed(traps)
"""Visit the failpoint of this name."""

"""Named places where a test may kill, stop, delay or break this process; nothing at all unless a variable names them.

    TUNEFLEET_FAILPOINTS="agent.after_claim=kill; master.after_commit=kill@3"

An entry is `NAME=ACTION`, and entries stand between semicolons. The action is `kill` (SIGKILL to this process), `stop`
(SIGSTOP), `delay:SECONDS` or `raise`; `@N` behind it means the N-th time that this process comes by, and without it the
first; `!FILE` behind that means only for the one process of all that manages to create the file.
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
    "agent.after_claim": "leases were given, and nothing was started",
    "agent.after_child_start": "the training process runs, and nobody has been told",
    "agent.before_beat": "a heartbeat is due",
    "agent.after_beat": "a heartbeat was answered",
    "agent.before_reports": "reports are in the spool and not yet sent",
    "agent.after_reports": "reports were answered",
    "agent.before_upload": "a file is about to be sent",
    "agent.after_upload": "a file was stored by the master, and is still on this disk",
    "agent.after_child_end": "the training process is gone, and its end has not been sent",
    "agent.after_end": "the end was answered, and the attempt's folder still stands",
    "agent.before_release": "an unfinished trial is about to be given back",
    "agent.after_release": "an unfinished trial was given back",
    "child.after_report": "a report is in the spool",
    "child.before_checkpoint": "a checkpoint is due",
    "child.inside_checkpoint": "a checkpoint is written, under another name",
    "child.after_checkpoint": "a checkpoint is whole, and the agent knows of it",
    "child.before_end": "the function has returned, and its end is not recorded",
    "child.after_end": "the end is in the spool",
    "master.before_commit": "a transaction is done, and not committed",
    "master.after_commit": "a transaction is committed, and nobody has been answered",
    "master.before_publish": "a file came whole, and has no place in the store yet",
    "master.after_publish": "a file has its place in the store, and no row in the database",
}
"""Every point, with what is true there."""

_ENTRY = re.compile(
    r"(?P<name>[a-z_.]+)=(?P<action>kill|stop|raise|delay:(?P<delay_s>\d+(\.\d+)?))(@(?P<nth>[1-9]\d*))?(!(?P<once>.+))?"
)


class InjectedFault(Exception):
    """The action `raise`; outside the tree of errors, so that nothing takes it for one that it can explain."""


@dataclass(slots=True)
class Trap:
    """What happens at one point.

    Attributes:
        action: `kill`, `stop`, `delay` or `raise`.
        delay_s: of a delay.
        nth: at which visit of this process.
        once: a file; only the process that creates it falls into the trap.
    """

    action: str
    delay_s: float = 0.0
    nth: int = 1
    once: str | None = None
    _visits: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def visit(self, name: str) -> None:
        """Come by. Raises InjectedFault when that is the action."""
        if next(self._visits) != self.nth or not self._is_mine():
            return
        if self.action == "delay":
            time.sleep(self.delay_s)
        elif self.action == "raise":
            raise InjectedFault(name)
        else:
            os.kill(os.getpid(), signal.SIGKILL if self.action == "kill" else signal.SIGSTOP)

    def _is_mine(self) -> bool:
        if self.once is None:
            return True
        try:
            os.close(os.open(self.once, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True


def parse(text: str) -> dict[str, Trap]:
    """The traps that a value of the variable sets. Raises ValueError for one that means nothing."""
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
    """What a process calls at each point when these traps are set."""

    def visit(name: str) -> None:
        if (trap := traps.get(name)) is not None:
            trap.visit(name)

    return visit


def _nothing(name: str) -> None:
    """What a process calls at each point when no trap is set."""


_text = os.environ.get(VARIABLE)
traps = parse(_text or "")
"""Those of this process; where the variable was set, if only to nothing, more may be added."""
failpoint: Callable[[str], None] = _nothing if _text is None else armed(traps)
"""Come by the point of this name."""

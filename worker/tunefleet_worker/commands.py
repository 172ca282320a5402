"""Run a study's `command`: any program.

The program reads its parameters from `{name}` in the command and from its environment, and writes metrics to a file.

Its environment has
    TUNEFLEET_PARAMS          the parameters as JSON; each one also as TUNEFLEET_PARAM_NAME
    TUNEFLEET_METRICS         a file with one JSON object per line: {"step": 1, "val_loss": 0.3}; default: the next step
    TUNEFLEET_SEED, TUNEFLEET_STEPS, TUNEFLEET_TRIAL, TUNEFLEET_ATTEMPT, TUNEFLEET_FOLDER
    TUNEFLEET_FOLD, TUNEFLEET_FOLDS: in a cross-validation the fold to validate on, from 0, and the number of folds
    TUNEFLEET_URL, TUNEFLEET_TRIAL_ID, TUNEFLEET_TOKEN: the master, and a token for this attempt only
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from tunefleet.errors import InvalidInput, Problem, TunefleetError
from tunefleet.trial.trial import Trial, TrialStopped

STOP_GRACE_S = 10.0  # for a program to end after SIGTERM; the agent waits three times as long
_POLL_S = 0.2  # between two reads of the metrics file
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_PR_SET_PDEATHSIG = 1
_set_process_option = getattr(ctypes.CDLL(None), "prctl", None)


class CommandError(TunefleetError):
    """The program could not be started."""

    code = "command"


def arguments(command: str, params: Mapping[str, JsonValue]) -> list[str]:
    """Return the program and its arguments. No shell parses them, so each value stays one argument.

    A word with a parameter that the configuration lacks is omitted. Braces around anything but a name are not changed.
    """
    words = []
    for word in shlex.split(command):
        names = set(_PLACEHOLDER.findall(word))
        if names <= params.keys():
            words.append(_PLACEHOLDER.sub(lambda match: as_text(params[match[1]]), word))
    return words


def environment(trial: Trial, metrics: Path) -> dict[str, str]:
    """Return the variables to add to the worker's environment."""
    each = {f"TUNEFLEET_PARAM_{name.upper()}": as_text(value) for name, value in trial.params.items()}
    return each | {
        "TUNEFLEET_PARAMS": json.dumps(dict(trial.params)),
        "TUNEFLEET_METRICS": str(metrics),
        "TUNEFLEET_SEED": str(trial.seed),
        "TUNEFLEET_STEPS": "" if trial.steps is None else str(trial.steps),
        "TUNEFLEET_TRIAL": str(trial.number),
        "TUNEFLEET_ATTEMPT": str(trial.attempt),
        "TUNEFLEET_FOLD": "" if trial.fold is None else str(trial.fold),
        "TUNEFLEET_FOLDS": str(trial.data.folds),
        "TUNEFLEET_FOLDER": str(trial.folder),
    }


def as_text(value: JsonValue) -> str:
    """Format a parameter's value: text unchanged, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def run_command(command: str, trial: Trial, *, check: Callable[[], None]) -> int:
    """Run the program to its end and report its metrics; return its exit code, or the negative number of a signal.

    The program runs in the caller's process group, and ends with it even if it ignores a stop.

    Args:
        command: the study's command.
        trial: receives the reports.
        check: raises TrialStopped when the program should stop.

    Raises:
        CommandError: the program does not exist, or the command is empty.
        InvalidInput: a line of the metrics file is not valid.
        TrialStopped: the program was stopped.
    """
    metrics = MetricsFile(trial.folder / "metrics.jsonl")
    program = _started(arguments(command, trial.params), os.environ | environment(trial, metrics.path))
    try:
        while not _has_ended(program):
            check()
            metrics.report_to(trial)
    except TrialStopped:
        _stop(program)
        raise
    except InvalidInput:
        program.kill()
        raise
    metrics.report_to(trial, is_whole=True)
    return program.returncode


class MetricsFile:
    """Reads the metrics file of a program while it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._n_lines = 0
        path.touch()

    def report_to(self, trial: Trial, *, is_whole: bool = False) -> None:
        """Report the lines that were added since the last call; with `is_whole`, also a last line without a newline.

        Raises:
            InvalidInput: a line is not a JSON object of numbers; the message has the line's number and text.
        """
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text if is_whole else text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._n_lines += 1
            if line.strip():
                self._report(trial, line)

    def _report(self, trial: Trial, line: bytes) -> None:
        place = f"TUNEFLEET_METRICS, line {self._n_lines}"
        try:
            data: Any = json.loads(line)
        except ValueError as error:
            raise _not_metrics(place, line) from error
        if not isinstance(data, dict):
            raise _not_metrics(place, line)
        step = data.pop("step", None)
        if step is not None and not isinstance(step, int):
            raise _not_metrics(place, line)
        trial.report(data, step=step)


def _not_metrics(place: str, line: bytes) -> InvalidInput:
    rule = 'a line is one JSON object of numbers, such as {"step": 1, "val_loss": 0.3}'
    return InvalidInput([Problem(place, rule, line[:80].decode("utf-8", errors="replace"))])


def _started(words: list[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    if not words:
        raise CommandError("the study's command has no program in it.")
    try:
        # The same process group, so that a signal to the group ends both processes.
        return subprocess.Popen(words, env=variables, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
    except OSError as error:
        raise CommandError(f"the program {words[0]!r} cannot be started: {error.strerror}.") from error


def _die_with_parent() -> None:
    if _set_process_option is not None:  # Linux has it; elsewhere the agent ends the process group
        _set_process_option(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _has_ended(program: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(_POLL_S)
    return program.returncode is not None


def _stop(program: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the process group, and wait STOP_GRACE_S for the program."""
    os.killpg(os.getpgrp(), signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(STOP_GRACE_S)

"""Commands of our programs, run in the test's own process: the import of a program takes longer than most commands."""

from __future__ import annotations

import gc
import io
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tunefleet.cli import main as tunefleet_program
from tunefleet_master import cli as master_program


@dataclass(frozen=True)
class Ran:
    """The exit code and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


def tunefleet(*arguments: object, url: str = "", folder: Path | None = None, **environment: str) -> Ran:
    """Run `tunefleet ARGUMENTS` against the master at a URL, in a folder."""
    variables = {"TUNEFLEET_URL": url, **environment} if url else environment
    return run_program(tunefleet_program.run, *arguments, environment=variables, folder=folder)


def tunefleet_master(*arguments: object, **environment: str) -> Ran:
    """Run `tunefleet-master ARGUMENTS`; a command that serves must fail at its start."""
    return run_program(master_program.run, *arguments, environment=environment)


def run_program(
    program: Callable[[], object],
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Ran:
    """Call the entry point of a program as its process would, and return what the process would have left.

    The arguments, the environment, the folder, the log, the handler of SIGTERM and the garbage collector are afterwards
    as before. Output of child processes is not captured.
    """
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as process,
        _restored_log(),
        _restored_runtime(),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        process.setattr(sys, "argv", ["program", *map(str, arguments)])
        for name, value in {"COLUMNS": "200", **(environment or {})}.items():
            process.setenv(name, value)
        if folder is not None:
            process.chdir(folder)
        try:
            program()
            code: object = 0
        except SystemExit as exited:
            code = exited.code
    return Ran(code if isinstance(code, int) else int(code is not None), stdout.getvalue(), stderr.getvalue())


@contextmanager
def _restored_log() -> Iterator[None]:
    root = logging.getLogger()
    handlers = root.handlers
    loggers = [root, *(it for it in root.manager.loggerDict.values() if isinstance(it, logging.Logger))]
    levels = [(logger, logger.level) for logger in loggers]
    root.handlers = []
    try:
        yield
    finally:
        root.handlers = handlers
        for logger, level in levels:
            logger.setLevel(level)


@contextmanager
def _restored_runtime() -> Iterator[None]:
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
        gc.enable()

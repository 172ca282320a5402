"""Each kind of end has its failure, its message, and the same location for the same cause."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest
import torch

from tunefleet.errors import InvalidInput, Problem
from tunefleet.protocol import Failure
from tunefleet_worker.failures import end_of_exception, end_of_exit, end_of_program
from tunefleet_worker.spool import End


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_exception_is_named_with_the_place_in_the_users_own_code(tmp_path):
    (tmp_path / "train.py").write_text("import json\n\ndef load():\n    return json.loads('no json')\n")
    code = compile((tmp_path / "train.py").read_text(), str(tmp_path / "train.py"), "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    try:
        names["load"]()
    except ValueError as error:
        end = end_of_exception(error, tmp_path)
    assert end.failure is Failure.ERROR
    assert end.message.startswith("JSONDecodeError: Expecting value")
    assert end.exception == "JSONDecodeError at train.py:4"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no room"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_is_its_own_failure(error):
    assert end_of_exception(raised(error), None).failure is Failure.OUT_OF_MEMORY


def test_errors_of_tunefleet_are_shown_without_their_type():
    error = InvalidInput([Problem("steps", "is required")])
    assert end_of_exception(raised(error), None).message == "steps: is required"


@pytest.mark.parametrize(
    ("code", "outcome", "message"),
    [(0, "complete", ""), (None, "complete", ""), (3, "failed", "with code 3"), ("bye", "failed", "bye")],
)
def test_sys_exit_counts_as_it_does_for_a_script(code, outcome, message):
    try:
        sys.exit(code)
    except SystemExit as error:
        end = end_of_exception(error, None)
    assert end.outcome == outcome
    assert message in end.message


@pytest.mark.parametrize(
    ("code", "out_of_memory", "failure", "message"),
    [
        (1, False, Failure.ERROR, "exited with code 1 before the function returned"),
        (0, False, Failure.ERROR, "exited with code 0 before the function returned"),
        (-signal.SIGSEGV, False, Failure.ERROR, "ended by SIGSEGV"),
        (-signal.SIGKILL, False, Failure.LOST, "killed from outside"),
        (-signal.SIGKILL, True, Failure.OUT_OF_MEMORY, "ran out of memory"),
        (None, False, Failure.LOST, "unknown reason"),
    ],
)
def test_process_that_ends_without_a_recorded_end(code, out_of_memory, failure, message):
    end = end_of_exit(code, out_of_memory=out_of_memory)
    assert end.failure is failure
    assert message in end.message


def test_the_end_of_a_program_is_classified_by_its_exit_code():
    assert end_of_program(0) == End.complete()
    assert "exited with code 2" in end_of_program(2).message
    assert "SIGTERM" in end_of_program(-15).message


def test_long_message_is_truncated():
    assert len(end_of_exception(raised(ValueError("x" * 100_000)), None).message) < 4_000

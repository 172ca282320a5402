"""Failpoints: no effect without the variable, and the named action with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunefleet import failpoints
from tunefleet.failpoints import InjectedFault, armed, parse

VISIT_THRICE = """
from tunefleet.failpoints import failpoint
for i in range(3):
    failpoint("agent.after_claim")
    print(i, flush=True)
"""


def visiting(setting: str) -> subprocess.Popen[str]:
    """A process that comes by three times, with the variable set."""
    environment = {**os.environ, failpoints.VARIABLE: setting}
    return subprocess.Popen([sys.executable, "-c", VISIT_THRICE], env=environment, stdout=subprocess.PIPE, text=True)


def test_without_the_variable_a_point_is_an_empty_function():
    assert failpoints.failpoint is failpoints._nothing


def test_a_process_is_killed_at_the_visit_that_was_named():
    process = visiting("master.after_commit=raise; agent.after_claim=kill@3")
    said, _ = process.communicate(timeout=120)
    assert said.split() == ["0", "1"]
    assert process.returncode == -signal.SIGKILL


def test_a_stopped_process_continues_on_sigcont():
    process = visiting("agent.after_claim=stop")
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=120)
    assert said.split() == ["0", "1", "2"]


def test_of_many_processes_one_falls_into_a_trap_for_one(tmp_path):
    once = tmp_path / "fallen"
    ends = []
    for _ in range(3):
        process = visiting(f"agent.after_claim=kill!{once}")
        process.communicate(timeout=120)
        ends.append(process.returncode)
    assert ends == [-signal.SIGKILL, 0, 0]


def test_a_fault_is_raised_once_and_a_delay_waits():
    visit = armed(parse("agent.after_claim=raise@2; agent.after_end=delay:0.01"))
    visit("agent.after_claim")
    with pytest.raises(InjectedFault, match=r"agent\.after_claim"):
        visit("agent.after_claim")
    visit("agent.after_claim")
    begin = time.monotonic()
    visit("agent.after_end")
    assert time.monotonic() - begin >= 0.01


@pytest.mark.parametrize("text", ["agent.after_claim", "agent.after_claim=explode", "no.such_point=kill", "x=kill@0"])
def test_a_setting_that_means_nothing_is_refused(text):
    with pytest.raises(ValueError, match="an entry is NAME=ACTION"):
        parse(text)


def test_each_failpoint_occurs_once_in_the_code():
    root = Path(__file__).parents[3]
    sources = [path for folder in ("shared", "master", "worker") for path in (root / folder).rglob("*.py")]
    text = "\n".join(path.read_text() for path in sources if path.name != "failpoints.py")
    assert {name: text.count(f'"{name}"') for name in failpoints.POINTS} == dict.fromkeys(failpoints.POINTS, 1)

"""The help texts: fast, complete, and with an example for every command."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer

from tunefleet.cli.main import app


def commands_of(command: Any, *names: str) -> list[str]:
    """Return the commands without the program's name: `up`, `token create`."""
    below = getattr(command, "commands", None)
    if below is None:
        return [" ".join(names)]
    return [words for name, child in below.items() for words in commands_of(child, *names, name)]


COMMANDS = sorted(commands_of(typer.main.get_command(app)))


def help_of(*arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "tunefleet", *arguments, "--help"], capture_output=True, text=True, check=True
    )
    return ran.stdout


@pytest.mark.parametrize("program", ["tunefleet", "tunefleet_master", "tunefleet_worker"])
def test_help_imports_no_large_package(program: str) -> None:
    """Imports make help slow; a measured time would depend on the machine's load."""
    traced = [sys.executable, "-X", "importtime", "-m", program, "--help"]
    imported = subprocess.run(traced, capture_output=True, text=True, check=True).stderr
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in imported.splitlines()}
    assert "typer" in names
    assert not names & {"torch", "numpy", "httpx", "pydantic", "fastapi", "sqlalchemy", "yaml", "scipy", "sklearn"}


def test_every_planned_command_exists() -> None:
    planned = "up demo check submit ls show trials watch logs best pause resume stop edit retry add export workers rm"
    assert set(planned.split()) <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command: str) -> None:
    _, _, taught = help_of(*command.split()).partition("Example")
    assert f"tunefleet {command}" in taught


def test_exit_codes_are_documented() -> None:
    assert "130  interrupted" in help_of()


def test_the_list_of_commands_shows_every_summary_in_full() -> None:
    _, _, commands = help_of().partition("Commands:")
    assert "..." not in commands

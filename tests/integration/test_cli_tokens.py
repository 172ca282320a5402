"""`tunefleet token` against a real master, for the first admin and later users."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tests.commands import Ran, tunefleet


def run(url: str, *arguments: str, token: str = "") -> Ran:
    return tunefleet(*arguments, url=url, TUNEFLEET_TOKEN=token)


def done(url: str, *arguments: str, token: str = "") -> str:
    ran = run(url, *arguments, token=token)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_an_admin_makes_lists_and_revokes_tokens(start_master: Any) -> None:
    url = start_master().url
    assert "There are no tokens yet" in run(url, "token", "ls").stderr

    admin = done(url, "token", "create", "me", "--scope", "admin").strip()
    reader = done(url, "token", "create", "board", "--scope", "read", "--expires", "90d", token=admin).strip()

    assert run(url, "ls").returncode == 2
    assert run(url, "ls", token=reader).returncode == 0
    listed = {row["name"]: row for row in json.loads(done(url, "token", "ls", "--json", token=admin))}
    assert {name: (row["scopes"], row["state"]) for name, row in listed.items()} == {
        "me": (["admin"], "good"),
        "board": (["read"], "good"),
    }
    assert listed["board"]["expires_at"]
    assert reader not in done(url, "token", "ls", token=admin)

    done(url, "token", "revoke", "board", token=admin)

    refused = run(url, "ls", token=reader)
    assert refused.returncode == 2
    assert "TUNEFLEET_TOKEN" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["create", "ci", "--scope", "read"], 1, "--scope admin"),
        (["create", "ci", "--scope", "everything"], 2, "scopes"),
        (["create", "c/i", "--scope", "admin"], 2, "name"),
        (["create", "ci", "--scope", "admin", "--expires", "soon"], 2, "expires_in_s"),
        (["create", "ci"], 2, "--scope"),
    ],
)
def test_invalid_token_commands_are_refused(master_process: Any, arguments: list[str], code: int, says: str) -> None:
    ran = run(master_process.url, "token", *arguments)

    assert ran.returncode == code
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_refused_command_ends_its_process_with_exit_code_2_and_one_message(master_process: Any) -> None:
    command = [sys.executable, "-m", "tunefleet", "token", "revoke", "nobody"]
    environment = {**os.environ, "TUNEFLEET_URL": master_process.url}

    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert "nobody" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_token_of_another_scope_is_refused_with_the_required_scope(start_master: Any) -> None:
    url = start_master("--token", "a-long-secret").url
    reader = done(url, "token", "create", "board", "--scope", "read", token="a-long-secret").strip()

    refused = run(url, "token", "ls", token=reader)

    assert refused.returncode == 2
    assert "'board'" in refused.stderr
    assert "admin" in refused.stderr

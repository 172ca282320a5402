"""The worker in docs/, run as its page says, against a real master."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "curl-worker.sh"
PAGE = ROOT / "docs" / "curl-worker.md"


def _run(*command: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=90, check=False)
    assert ran.returncode == 0, ran.stderr
    return str(ran.stdout)


def _submission() -> str:
    """The page's command that hands the study in."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return next(block for block in blocks if "curl -fsS" in block)


def test_the_curl_worker_completes_a_study_that_curl_handed_in(master_process: Any) -> None:
    url = master_process.url
    submitted = json.loads(_run("sh", "-c", _submission(), TUNEFLEET_URL=url))

    printed = _run("sh", str(SCRIPT), url)

    study = httpx.get(f"{url}/api/v1/studies/parabola").json()
    assert submitted["state"] == "running"
    assert study["state"] == "complete"
    assert study["trials"]["complete"] == 3
    assert len(printed.splitlines()) == 3
    for number in range(3):
        _check_trial(url, number)


def _check_trial(url: str, number: int) -> None:
    trial = httpx.get(f"{url}/api/v1/studies/parabola/trials/{number}").json()
    x = trial["params"]["x"]
    losses = [point["metrics"]["loss"] for point in trial["curve"]]
    assert trial["state"] == "complete"
    assert [point["step"] for point in trial["curve"]] == [0, 1, 2, 3, 4]
    assert losses == pytest.approx([(x - 0.3) ** 2 + 1 / (step + 1) for step in range(5)], rel=1e-4)
    assert trial["value"] == min(losses)
    model = httpx.get(f"{url}/api/v1/trials/{trial['id']}/artifacts/model.json").json()
    assert model == {"x": x, "loss": losses[-1]}


def test_the_curl_worker_shows_its_token(guarded_master: Any) -> None:
    url = guarded_master.url
    spec = {
        "name": "parabola",
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"command": "train {x}"},
        "space": {"x": [0.3]},
        "steps": 1,
        "budget": {"trials": 1},
    }
    headers = {"Authorization": "Bearer a-long-secret"}
    httpx.post(f"{url}/api/v1/studies", json=spec, headers=headers).raise_for_status()

    printed = _run("sh", str(SCRIPT), url, TUNEFLEET_TOKEN="a-long-secret")

    assert "x = 0.3, loss = 1, complete" in printed


def test_the_curl_worker_has_no_more_than_ten_lines_that_call() -> None:
    code = [line for line in SCRIPT.read_text().splitlines() if not line.startswith("#")]

    assert 0 < sum(re.search(r"\b(curl|call|post)\b[ (]", line) is not None for line in code) <= 10

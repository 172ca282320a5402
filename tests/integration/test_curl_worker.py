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
README = ROOT / "README.md"


def _run(*command: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    return str(ran.stdout)


def _block(page: Path, words: str) -> str:
    """The first commands on the page that have these words."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    return next(block for block in blocks if words in block)


def test_the_curl_worker_completes_a_study_that_curl_handed_in(master_process: Any) -> None:
    url = master_process.url
    submitted = json.loads(_run("sh", "-c", _block(PAGE, "curl -fsS"), TUNEFLEET_URL=url))

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


def _parabola(name: str, trials: int) -> dict[str, Any]:
    return {
        "name": name,
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"command": "train {x}"},
        "space": {"x": {"float": [0.0, 1.0]}},
        "steps": 1,
        "budget": {"trials": trials},
    }


def test_the_curl_worker_shows_its_token(start_master: Any) -> None:
    url = start_master("--token", "a-long-secret").url
    headers = {"Authorization": "Bearer a-long-secret"}
    httpx.post(f"{url}/api/v1/studies", json=_parabola("parabola", 1), headers=headers).raise_for_status()

    printed = _run("sh", str(SCRIPT), url, TUNEFLEET_TOKEN="a-long-secret")

    assert printed.strip().endswith("complete")


def test_the_lines_of_the_readme_complete_a_trial(master_process: Any, tmp_path: Path) -> None:
    url = master_process.url
    httpx.post(f"{url}/api/v1/studies", json=_parabola("by-the-readme", 1)).raise_for_status()
    lines = _block(README, "post claims").replace("http://127.0.0.1:8765", url)

    _run("sh", "-euc", f"cd {tmp_path}\n{lines}")

    trial = httpx.get(f"{url}/api/v1/studies/by-the-readme/trials/0").json()
    assert (trial["state"], trial["value"]) == ("complete", 0.5)
    assert [artifact["name"] for artifact in trial["artifacts"]] == ["claim.json"]
    assert len(lines.splitlines()) <= 10


def test_the_curl_worker_has_no_more_than_ten_lines_that_call() -> None:
    code = [line for line in SCRIPT.read_text().splitlines() if not line.startswith("#")]

    assert 0 < sum(re.search(r"\b(curl|call|post)\b[ (]", line) is not None for line in code) <= 10

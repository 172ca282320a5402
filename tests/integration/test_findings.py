"""What a study shows: by the API, the client, the command line and the page, from the process that works it out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import httpx
import psutil
import pytest
from tests.commands import tunefleet
from tests.fleet import has_ended
from tests.integration.conftest import Api, MasterProcess

from tunefleet.client.client import Client
from tunefleet.client.study import Study

N_TRIALS = 60
SPACE = {
    "lr": {"log": [1e-6, 1e-3]},
    "width": {"int": [16, 512], "log": True},
    "idle": {"float": [0, 1]},
}


def loss(params: Mapping[str, Any]) -> float:
    """Best at a learning rate that lies a decade above the range."""
    width = math.log2(params["width"] / 64) / 4
    return float((math.log10(params["lr"]) + 2) ** 2 + 0.3 * width**2)


def submitted(client: Client, name: str, n: int = N_TRIALS, **changes: Any) -> Study:
    """A study of which so many trials have ended."""
    spec = {
        "name": name,
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"command": "true"},
        "space": SPACE,
        "search": {"sampler": "random", "seed": 1},
        "budget": {"trials": 100},
    }
    study = client.submit({**spec, **changes})
    trials = study.claims()
    for _ in range(n):
        with next(trials) as trial:
            trial.report(loss=loss(trial.params))
    return study


@pytest.fixture(scope="module")
def study(master_process: MasterProcess) -> Any:
    with Client(master_process.url) as client:
        yield submitted(client, "shown")


def test_a_study_without_an_ended_trial_answers_at_once_that_nothing_is_known(api: Api) -> None:
    api.submit(name="new")
    api.claim()
    answer = api.get("/studies/new/findings?wait_s=25")
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() < 5
    assert answer.json() == {
        "study": "new",
        "event": 0,
        "n_ended": 0,
        "n_newer": 0,
        "renewing": False,
        "findings": [],
        "importance": None,
        "gain": None,
        "unknown": ["No trial has ended yet, so there are no findings."],
    }


def test_there_are_no_findings_of_a_study_that_is_not_there_or_of_a_wrong_wait(api: Api) -> None:
    assert api.get("/studies/none/findings").json()["code"] == "not_found"
    refused = api.get("/studies/none/findings?wait_s=26")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "wait_s"


def test_whoever_does_not_wait_is_told_that_it_is_worked_out_and_gets_it_later(api: Api) -> None:
    api.submit(name="quick")
    (lease,) = api.claim()
    api.complete(lease, val_accuracy=0.5)
    first = api.get("/studies/quick/findings?wait_s=0").json()
    assert (first["renewing"], first["n_ended"], first["n_newer"]) == (True, 0, 1)
    assert "ask again" in first["unknown"][0]
    found = first
    while found["renewing"]:
        found = api.get("/studies/quick/findings").json()
    assert (found["n_ended"], found["n_newer"], found["renewing"]) == (1, 0, False)
    assert found["event"] > 0
    assert [finding["code"] for finding in found["findings"]] == ["few_trials"]
    assert len(found["unknown"]) == 2


def test_a_study_shows_what_to_widen_what_matters_and_what_to_expect(study: Study) -> None:
    found = study.findings()
    assert (found.n_ended, found.n_newer, found.unknown) == (N_TRIALS, 0, [])
    edge = next(finding for finding in found.findings if finding.code == "edge")
    assert edge.edit == {"lr": {"log": [1e-6, 1e-2]}}
    assert edge.evidence["edge"] == 1e-3
    assert found.importance is not None
    assert found.importance.effects[0].parameter == "lr"
    assert found.importance.effects[0].share > 0.5
    assert found.gain is not None
    best = study.best()
    assert best is not None
    assert (found.gain.n_more, found.gain.best) == (40, best.value)


def test_an_edit_that_a_finding_proposes_can_be_made_and_is_looked_at_again(client: Client) -> None:
    study = submitted(client, "mended", 15)
    first = study.findings()
    (edge,) = [finding for finding in first.findings if finding.code == "edge"]
    ran = tunefleet("findings", "mended", url=client.url)
    assert ran.returncode == 0, ran.stderr
    line = next(line for line in ran.stdout.splitlines() if "tunefleet edit mended" in line)
    assert line.split(None, 1)[1] == "tunefleet edit mended --set 'lr={log: [1.0e-06, 0.01]}'"
    study.edit(space=edge.edit)
    assert study.stop().state == "stopped"
    found = study.findings()
    assert "edge" not in [finding.code for finding in found.findings]
    assert found.gain is None


def test_the_command_prints_findings_with_what_to_do_importance_and_gain(client: Client, study: Study) -> None:
    ran = tunefleet("findings", study.name, url=client.url)
    assert ran.returncode == 0, ran.stderr
    assert f"After {N_TRIALS} trials:" in ran.stderr
    for text in ("warning: ", "upper edge of lr", "  do:       Widen the range", "  evidence: edge=0.001", "source:"):
        assert text in ran.stdout
    assert "gain: The 40 trials to come are expected to improve" in ran.stdout
    assert any(line.split()[:1] == ["lr"] and line.count("%") == 3 for line in ran.stdout.splitlines())
    assert "noise and other interactions" in ran.stdout
    as_json = tunefleet("findings", study.name, "--json", url=client.url)
    assert study.findings().model_validate_json(as_json.stdout) == study.findings()


def test_the_page_shows_findings_bars_and_gain_and_does_not_wait_for_them(client: Client, study: Study) -> None:
    submitted(client, "paged", 2)
    page = httpx.get(f"{client.url}/studies/paged").text
    assert "The analysis of the trials is running" in page
    study.findings()
    page = httpx.get(f"{client.url}/studies/{study.name}").text
    assert "upper edge of lr" in page
    assert "40 trials to come" in page
    assert '<rect class="alone"' in page
    assert "{&#34;log&#34;: [1e-06, 0.01]}" in page


def test_a_process_that_dies_is_told_and_the_next_one_begins_from_the_first_event(
    client: Client, master_process: MasterProcess
) -> None:
    study = submitted(client, "killed", 15)
    assert study.findings().n_ended == 15
    children = psutil.Process(master_process.process.pid).children(recursive=True)
    for child in children:
        child.kill()
    while not all(has_ended(child.pid) for child in children):  # a nice process dies slowly on a busy machine
        time.sleep(0.02)
    for _, trial in zip(range(5), study.claims(), strict=False):
        with trial:
            trial.report(loss=loss(trial.params))
    study.stop()
    # On a busy machine the first answer may be the one that tells of the death.
    found = next(answer for _ in range(20) if (answer := study.findings()).n_ended == 20)
    assert "edge" in [finding.code for finding in found.findings]

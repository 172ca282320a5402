"""A blocked study as people meet it: through the client, the command line and the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from tunefleet.cli.main import app
from tunefleet.client.client import Client
from tunefleet.client.study import Study, is_over
from tunefleet.errors import InvalidInput
from tunefleet.protocol import ClaimRequest, ClaimResponse, CompleteRequest, EndResponse, Lease, WorkerFacts
from tunefleet.protocol.preflight import BranchReport, Check, PreflightReport

Cli = Callable[..., Result]

BUG = Check(code="gradient", passed=False, saw="no gradient reaches body.weight", likely="a tensor is detached")
DOUBT = Check(code="start", passed=False, blocks=False, saw="the loss begins at 9.1", likely="inputs are not scaled")
UNFIT = Check(code="overfit", passed=False, saw="accuracy 0.4 on 64 samples after 100 updates", likely="the labels")
FITTED = Check(code="overfit", passed=True, saw="accuracy 1 on 64 samples after 20 updates")


@pytest.fixture
def file(tmp_path: Path, study_name: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(
        f"name: {study_name}\n"
        "objective: {metric: loss, goal: minimize}\n"
        "run: {function: 'train:train'}\n"
        "space: {lr: {log: [1e-4, 1e-1]}}\n"
        "search: {sampler: random}\n"
        "budget: {trials: 3}\n"
        "preflight: {updates: 100}\n"
    )
    return path


@pytest.fixture
def cli(client: Client) -> Cli:
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)], env={"TUNEFLEET_URL": client.url})


def take(client: Client, study: Study) -> Lease:
    facts = WorkerFacts(allow_code=True, preflight=True)
    asked = ClaimRequest(worker="w1", study=study.name, wait_s=10, facts=facts)
    [lease] = client.transport.post("/claims", asked, answer=ClaimResponse, timeout_s=60).leases
    return lease


def settle(client: Client, study: Study, *checks: Check) -> EndResponse:
    lease = take(client, study)
    report = PreflightReport(took_s=1.25, branches=[BranchReport(params={"lr": 0.01}, checks=[*checks])])
    body = CompleteRequest(attempt=lease.attempt, preflight=report)
    return client.transport.post(f"/trials/{lease.trial_id}/complete", body, answer=EndResponse)


@pytest.fixture
def blocked(client: Client, file: Path) -> Study:
    study = client.submit(file)
    assert settle(client, study, BUG, DOUBT, UNFIT).study_state == "blocked"
    return study


def test_the_client_waits_no_longer_for_a_blocked_study_and_has_the_report(client, blocked):
    view = blocked.wait(timeout_s=60)
    assert is_over(view)
    assert view.preflight_report.finding == "no gradient reaches body.weight. Likely: a tensor is detached."
    assert view.trials == {}


def test_ls_show_and_watch_tell_the_finding_and_what_to_do(cli, blocked):
    listed = next(row for row in cli("ls").output.splitlines() if blocked.name in row)
    assert "blocked" in listed
    assert "no gradient reaches body.weight" in listed
    shown = cli("show", blocked.name).output
    assert "preflight blocked: no gradient reaches body.weight (lr=0.01)" in shown
    assert "accuracy 0.4" not in shown  # it follows
    assert "preflight warning: the loss begins at 9.1 (lr=0.01)" in shown
    watched = cli("watch", blocked.name)
    assert watched.exit_code == 1
    assert f"tunefleet resume {blocked.name} --anyway" in watched.output
    assert "likely cause: a tensor is detached" in watched.output


def test_the_page_shows_what_the_preflight_saw_and_its_likely_cause(client, blocked):
    page = httpx.get(f"{client.url}/studies/{blocked.name}").text
    assert "no gradient reaches body.weight" in page
    assert "a tensor is detached" in page
    assert "the preflight failed" in page
    assert "accuracy 0.4" not in page  # it follows
    assert "1 architecture checked" in page


def test_resume_looks_again_and_resume_anyway_goes_on(client, cli, blocked):
    assert "waiting for its preflight" in cli("resume", blocked.name).output
    settle(client, blocked, BUG)
    assert "0 running" in cli("resume", blocked.name, "--anyway").output
    assert take(client, blocked).number == 0
    assert blocked.view().preflight == "overruled"


def test_a_preflight_that_passes_is_shown_with_its_doubts(client, cli, file):
    study = client.submit(file)
    assert "waiting for its preflight" in cli("resume", study.name).output
    settle(client, study, DOUBT, FITTED)
    shown = cli("show", study.name).output
    assert "passed (1 architecture checked in 1.2 s)" in shown
    assert "preflight passed: accuracy 1 on 64 samples after 20 updates (lr=0.01)" in shown


def test_submit_leaves_the_preflight_out_or_puts_it_in(client, cli, file, tmp_path):
    assert cli("submit", file, "--no-preflight").exit_code == 0
    name = json.loads(cli("ls", "--json").stdout)[0]["name"]
    assert client.study(name).view().preflight is None
    other = tmp_path / "other.yaml"
    other.write_text(file.read_text().replace("preflight: {updates: 100}\n", "").replace("name: ", "name: b-"))
    view = client.submit(other, preflight=True).view()
    assert (view.preflight, view.spec.preflight.updates) == ("pending", 300)


def test_a_command_cannot_be_looked_into(client, file):
    text = file.read_text().replace("function: 'train:train'", "command: 'true'")
    file.write_text(text)
    with pytest.raises(InvalidInput, match="cannot inspect a command"):
        client.submit(file)


def test_anyway_goes_with_running_only(client, blocked):
    answer = httpx.patch(f"{client.url}/api/v1/studies/{blocked.name}", json={"state": "paused", "anyway": True})
    assert answer.status_code == 422
    assert "goes with state: running" in answer.text

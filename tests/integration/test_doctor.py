"""The doctor: what a trial's curves show, by the API, the client, the command line and the page; and its edits."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.commands import Ran, tunefleet
from tests.integration.conftest import Api, MasterProcess

from tunefleet.client.client import Client
from tunefleet.client.study import Study

N_EPOCHS = 10


def overfitting(i: int) -> dict[str, float]:
    """The metrics of an epoch; the validation loss rises from step 3 on."""
    return {
        "train_loss": 2.0 * 0.7**i,
        "val_loss": 2.0 * 0.7 ** min(i, 3) * 1.08 ** max(0, i - 3),
        "val_accuracy": 0.5 + 0.02 * i,
    }


@pytest.fixture(scope="module")
def study(master_process: MasterProcess) -> Any:
    spec = {
        "name": "sick",
        "objective": {"metric": "val_loss", "goal": "minimize"},
        "run": {"command": "true"},
        "space": {"lr": {"float": [1e-4, 1e-1]}, "dropout": {"float": [0, 0.3]}},
        "search": {"sampler": "random", "seed": 1},
        "budget": {"trials": 20},
    }
    with Client(master_process.url) as client:
        study = client.submit(spec)
        for _, trial in zip(range(4), study.claims(), strict=False):
            with trial:
                for i in range(N_EPOCHS):
                    trial.report(step=i, **overfitting(i))
        yield study


def run(study: Study, *arguments: str) -> Ran:
    return tunefleet(*arguments, url=study._transport.url)


def test_a_trials_findings_come_by_the_api_and_by_the_client(api: Api, study: Study) -> None:
    found = study.trial_findings(0)
    assert (found.study, found.number, found.n_reports) == ("sick", 0, N_EPOCHS)
    overfit = next(finding for finding in found.findings if finding.code == "overfit")
    assert overfit.evidence["from_step"] == 3
    assert api.get("/trials/999999/findings").status_code == 404


def test_a_trial_without_reports_says_what_it_takes(api: Api) -> None:
    api.submit(name="quiet")
    (lease,) = api.claim()
    found = api.get(f"/trials/{lease['trial_id']}/findings").json()
    assert (found["findings"], found["n_reports"]) == ([], 0)
    assert "from 5 reports on" in found["unknown"][0]


def test_the_study_says_what_its_best_trials_share_and_one_command_makes_the_edit(study: Study) -> None:
    shown = run(study, "doctor", study.name)
    assert shown.returncode == 0, shown.stderr
    assert "warning: 4 of the 4 best trials overfit from step 3 on (median)." in shown.stdout
    assert "(overfit)" in run(study, "doctor", study.name).stdout
    applied = run(study, "doctor", study.name, "--apply", "overfit")
    assert applied.returncode == 0, applied.stderr
    assert "dropout is now {float: [0.0, 0.45]}" in applied.stderr
    space = study.view().spec.to_json()["space"]
    assert isinstance(space, dict)
    assert space["dropout"] == {"float": [0.0, 0.45]}


def test_a_code_that_no_finding_has_and_one_without_an_edit_are_refused(study: Study) -> None:
    unknown = run(study, "doctor", study.name, "--apply", "linear_scal")
    assert unknown.returncode == 2
    assert "linear_scale" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    both = run(study, "doctor", study.name, "--apply", "overfit", "--trial", "0")
    assert (both.returncode, "leave --trial out" in both.stderr) == (2, True)
    nowhere = run(study, "doctor", "--apply", "edge")
    assert nowhere.returncode == 2
    assert "name it: tunefleet doctor STUDY" in nowhere.stderr


def test_show_and_doctor_print_what_a_trials_curves_show(study: Study) -> None:
    for arguments in (("show", study.name, "0"), ("doctor", study.name, "--trial", "0")):
        ran = run(study, *arguments)
        assert ran.returncode == 0, ran.stderr
        assert "warning: val_loss has risen by" in ran.stdout
    as_json = json.loads(run(study, "show", study.name, "0", "--json").stdout)
    assert "overfit" in [finding["code"] for finding in as_json["findings"]]
    assert as_json["number"] == 0


def test_the_trials_page_shows_what_its_curves_show(study: Study) -> None:
    trial = study.trial(0)
    page = httpx.get(f"{study._transport.url}/trials/{trial.id}").text
    assert '<h2 id="insight">Findings</h2>' in page
    assert "the model overfits from there on" in page

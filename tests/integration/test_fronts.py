"""The front of a study of several objectives, as the API, the client, the command line and the pages show it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tunefleet.cli.main import run
from tunefleet.client.client import Client
from tunefleet.client.study import Study
from tunefleet.errors import Conflict
from tunefleet.study.spec import StudySpec

OBJECTIVES = [{"metric": "accuracy", "goal": "maximize"}, {"metric": "latency", "goal": "minimize"}]
RESULTS = [(0.9, 9.0, 5.0), (0.5, 1.0, 5.0), (0.4, 2.0, 5.0), (0.99, 0.1, 500.0)]
"""Accuracy, latency and params; the first two are the front, and the last one breaks the outcome."""

Cli = Callable[..., tuple[int, str, str]]


def several(**changes: Any) -> dict[str, Any]:
    study: dict[str, Any] = {
        "name": "several",
        "objectives": OBJECTIVES,
        "outcomes": ["params <= 100"],
        "run": {"command": "true"},
        "space": {"lr": {"log": [1e-5, 1e-1]}},
        "search": {"sampler": "random"},
        "budget": {"trials": len(RESULTS)},
    }
    return {**study, **changes}


@pytest.fixture
def cli(client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs `tunefleet` against the module's master; gives its exit code and what it printed."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("TUNEFLEET_URL", client.url)
        monkeypatch.setattr(sys, "argv", ["tunefleet", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call


@pytest.fixture
def study(client: Client, study_name: str) -> Study:
    """A study that is over."""
    submitted = client.submit(StudySpec.parse(several(name=study_name)))
    for trial, (accuracy, latency, params) in zip(submitted.claims(), RESULTS, strict=True):
        with trial:
            trial.report(accuracy=accuracy, latency=latency, params=params)
    return submitted


def test_the_client_gives_the_front_the_best_in_the_first_objective_first(client: Client, study: Study) -> None:
    assert [trial.values for trial in study.front()] == [(0.9, 9.0), (0.5, 1.0)]
    assert study.best() is None
    assert sorted(trial.broken_outcomes for trial in study.trials()) == [(), (), (), ("params <= 100",)]
    one = several(name=f"{study.name[:60]}-one", objective=OBJECTIVES[0])
    for key in ("objectives", "outcomes"):
        del one[key]
    with pytest.raises(Conflict, match="has one objective, and so no front"):
        client.submit(StudySpec.parse(one)).front()


def test_the_command_line_shows_the_front(cli: Cli, study: Study) -> None:
    code, out, _ = cli("front", study.name)
    assert code == 0
    head, *rows = [line.split() for line in out.splitlines() if line.strip() and "─" not in line]
    assert head[:5] == ["trial", "state", "accuracy", "latency", "step"]
    assert [row[2:4] for row in rows] == [["0.9", "9"], ["0.5", "1"]]
    code, out, _ = cli("front", study.name, "--json")
    assert [trial["values"] for trial in json.loads(out)] == [[0.9, 9.0], [0.5, 1.0]]


def test_best_says_to_look_at_the_front(cli: Cli, study: Study) -> None:
    code, _, err = cli("best", study.name)
    assert code == 2
    assert "has several objectives, so no single trial is the best" in err
    assert f"tunefleet front {study.name}" in err


def test_lists_of_studies_and_trials_show_every_objective(cli: Cli, study: Study) -> None:
    assert "accuracy, latency" in cli("ls")[1]
    shown = cli("show", study.name)[1]
    assert "maximize accuracy, minimize latency" in shown
    assert f"tunefleet front {study.name}" in shown
    trials = cli("trials", study.name)[1]
    assert "latency" in trials
    assert "not params <= 100" in trials
    assert cli("watch", study.name)[0] == 0


def test_an_empty_front_says_so(cli: Cli, client: Client, study_name: str) -> None:
    client.submit(StudySpec.parse(several(name=study_name)))
    code, out, err = cli("front", study_name)
    assert (code, out) == (0, "")
    assert "satisfies all outcomes yet" in err
    assert json.loads(cli("front", study_name, "--json")[1]) == []


def test_the_api_gives_the_front_in_pages(api: Any) -> None:
    submitted = api.post("/studies", several())
    assert submitted.status_code == 201, submitted.text
    facts = {"allow_code": True}
    for lease, (accuracy, latency, params) in zip(api.claim(slots=4, facts=facts), RESULTS, strict=True):
        assert api.complete(lease, accuracy=accuracy, latency=latency, params=params).is_success
    first = api.get("/studies/several/front?limit=1").json()
    assert (len(first["items"]), first["total"], first["next"]) == (1, 2, "1")
    assert api.get("/studies/several/front?cursor=1").json()["items"][0]["values"] == [0.5, 1.0]
    assert api.get("/studies/several/front?cursor=x").status_code == 422
    assert api.get("/studies/nobody/front").status_code == 404
    assert submitted.json()["spec"]["objectives"] == [{**each, "value": "last"} for each in OBJECTIVES]


def test_a_study_of_one_objective_has_no_front(api: Any) -> None:
    api.submit(name="one")
    answer = api.get("/studies/one/front")
    assert answer.status_code == 409
    assert "tunefleet best one" in answer.json()["hint"]


def test_the_pages_show_the_front_and_what_an_outcome_leaves_out(api: Any) -> None:
    def page(path: str) -> str:
        answer = api.http.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return str(answer.text)

    api.post("/studies", several())
    assert "No trial has a value for each objective and respects the outcomes yet." in page("/studies/several")
    leases = api.claim(slots=4, facts={"allow_code": True})
    for lease, (accuracy, latency, params) in zip(leases, RESULTS, strict=True):
        api.complete(lease, accuracy=accuracy, latency=latency, params=params)
    shown = page("/studies/several")
    assert "2 trials; no other trial is better in all objectives." in shown
    assert shown.count("<circle") == 2
    assert "<code>params &lt;= 100</code>" in shown
    assert "The best trial" not in shown
    assert "front</a>" in page("/")
    assert "It is not on the front because it violates" in page(f"/trials/{leases[3]['trial_id']}")


def test_what_a_study_shows_is_said_of_the_first_objective(client: Client, study: Study) -> None:
    assert "These findings concern accuracy, the first objective" in " ".join(study.findings().unknown)


def test_of_three_objectives_the_page_has_the_table_alone(api: Any) -> None:
    api.post("/studies", several(objectives=[*OBJECTIVES, {"metric": "params", "goal": "minimize"}]))
    [lease] = api.claim(facts={"allow_code": True})
    api.complete(lease, accuracy=0.5, latency=1.0, params=3.0)
    text = api.http.get("/studies/several", headers={"Accept": "text/html"}).text
    assert "1 trial; no other trial is better in all objectives." in text
    assert "<circle" not in text

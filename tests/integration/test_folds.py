"""A cross-validation over HTTP: what the API, the pages and the commands show of configurations and their folds."""

from __future__ import annotations

from typing import Any

import pytest

HTML = {"Accept": "text/html"}


@pytest.fixture
def leases(api: Any) -> list[dict[str, Any]]:
    """Three folds of a first configuration, all complete, and one of a second one."""
    api.submit(name="folded", data={"folds": 3, "race": False})
    leases: list[dict[str, Any]] = api.claim("w1", slots=4)
    for value, lease in zip((0.5, 0.75, 1.0, 0.9), leases, strict=True):
        api.report(lease, 0, val_accuracy=value)
        api.complete(lease)
    return leases


def test_a_lease_names_the_fold_and_the_view_the_mean(api: Any, leases: list[dict[str, Any]]) -> None:
    assert [(lease["number"], lease["fold"], lease["data"]["folds"]) for lease in leases[:3]] == [
        (0, 0, 3),
        (1, 1, 3),
        (2, 2, 3),
    ]
    view = api.get("/studies/folded").json()
    assert view["folds"] == 3
    best = view["best"]
    assert (best["number"], best["value"], best["standard_error"]) == (0, 0.75, pytest.approx(0.25 / 3**0.5))


def test_configurations_are_listed_with_their_folds_the_best_first(api: Any, leases: list[dict[str, Any]]) -> None:
    listed = api.get("/studies/folded/configurations?limit=2").json()
    assert (listed["total"], listed["next"], listed["items"][0]["number"]) == (view_total(api), "2", 0)
    assert [fold["value"] for fold in listed["items"][0]["folds"]] == [0.5, 0.75, 1.0]
    assert listed["items"][1]["state"] == "running"


def view_total(api: Any) -> int:
    return int(sum(api.get("/studies/folded").json()["trials"].values())) // 3


def test_the_pages_show_mean_standard_error_and_folds(api: Any, leases: list[dict[str, Any]]) -> None:
    study = api.http.get("/studies/folded", headers=HTML).text
    assert "± 0.1443" in study
    assert "mean of 3 folds, trials 0 to 2" in study
    assert "configurations of 3 folds" in study
    trial = api.http.get(f"/trials/{leases[1]['trial_id']}", headers=HTML).text
    assert "Configuration 0" in trial
    assert "± 0.1443" in trial
    assert all(f'href="/trials/{lease["trial_id"]}"' in trial for lease in leases[:3])


def test_a_study_without_folds_has_no_configurations(api: Any) -> None:
    api.submit(name="plain")
    answer = api.http.get("/api/v1/studies/plain/configurations")
    assert answer.status_code == 409
    assert "has no folds" in answer.json()["detail"]

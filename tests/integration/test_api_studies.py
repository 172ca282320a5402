from __future__ import annotations

import pytest


def test_a_study_is_submitted_once(api) -> None:
    first = api.post("/studies", api.study_of())
    again = api.post("/studies", api.study_of())
    other = api.post("/studies", api.study_of(budget={"trials": 5}))

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["location"] == "/api/v1/studies/study"
    assert again.json()["created_at"] == first.json()["created_at"]
    assert (other.status_code, other.json()["code"]) == (409, "study_exists")


def test_a_study_is_read_with_its_spec(api) -> None:
    api.submit()

    study = api.get("/studies/study").json()

    assert study["spec"]["space"]["lr"]["log"] == [1e-5, 1e-1]
    assert (study["state"], study["metric"], study["sampler"]) == ("running", "val_accuracy", "random")


def test_studies_are_listed_by_page_the_newest_first(api) -> None:
    for name in ("a", "b", "c"):
        api.submit(name=name)

    first = api.get("/studies", params={"limit": 2}).json()
    second = api.get("/studies", params={"limit": 2, "cursor": first["next"]}).json()

    assert [study["name"] for study in first["items"] + second["items"]] == ["c", "b", "a"]
    assert (first["total"], second["next"]) == (3, None)


def test_a_study_is_paused_resumed_and_stopped(api) -> None:
    api.submit()

    states = [
        api.http.patch("/api/v1/studies/study", json={"state": state}).json()["state"]
        for state in ("paused", "running", "stopped")
    ]

    assert states == ["paused", "running", "stopped"]


def test_a_running_study_cannot_be_deleted_and_a_stopped_one_can(api) -> None:
    api.submit()
    refused = api.http.delete("/api/v1/studies/study")
    api.http.patch("/api/v1/studies/study", json={"state": "stopped"})

    deleted = api.http.delete("/api/v1/studies/study")

    assert (refused.status_code, deleted.status_code) == (409, 204)
    assert api.get("/studies/study").status_code == 404


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"seach": {}}, "seach", "did you mean 'search'"),
        ({"space": {"lr": {"log": [1, 0.1]}}}, "space.lr", "low"),
        ({"space": {"lr": {"log": [0, 0.1]}}}, "space.lr", "log"),
        ({"space": {}}, "space", "at least 1"),
        ({"name": "../etc"}, "name", "a name begins with"),
        ({"objective": {"metric": "loss"}}, "objective.goal", "is required"),
    ],
)
def test_an_invalid_study_is_refused_with_its_field(api, changes, field, says) -> None:
    answer = api.post("/studies", api.study_of(**changes))

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_input")
    assert any(error["field"].startswith(field) and says in error["rule"] for error in problem["errors"]), problem


def test_a_study_that_this_version_cannot_run_is_refused(api) -> None:
    answer = api.post("/studies", api.study_of(ensemble={"size": 3}))

    assert (answer.status_code, answer.json()["code"]) == (422, "not_available_yet")


def test_the_schema_of_a_study_is_served(api) -> None:
    schema = api.get("/schema/study").json()

    assert set(schema["required"]) == {"name", "run", "space"}
    assert schema["oneOf"] == [{"required": ["objective"]}, {"required": ["objectives"]}]
    assert schema["$schema"].startswith("https://json-schema.org/")


def test_failed_trials_run_again(api) -> None:
    api.submit(retry={"error": 0})
    lease = api.claim()[0]
    api.post(f"/trials/{lease['trial_id']}/fail", {"attempt": lease["attempt"], "message": "boom"})

    answer = api.post("/studies/study/retry", {})

    assert answer.json() == {"numbers": [lease["number"]]}
    assert api.get(f"/trials/{lease['trial_id']}").json()["state"] == "waiting"

"""The pages, as a browser without JavaScript gets them."""

from __future__ import annotations

import re

import pytest

HTML = {"Accept": "text/html"}


def page(api, path: str) -> str:
    answer = api.http.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return str(answer.text)


@pytest.fixture
def study(api):
    """A study with a trial that is complete, one that diverged, one that runs and one that waits."""
    api.submit(name="digits-cnn", retry={"error": 0})
    complete, failed, running = api.claim("gpu-1", slots=3, facts={"device": "NVIDIA H200", "slots": 4})
    for step in range(5):
        api.report(complete, step, val_accuracy=0.5 + step / 10, train_loss=2 / (step + 1), val_loss=2.2 / (step + 1))
    api.complete(complete)
    tail = {"attempt": 1, "failure": "error", "message": "<script>alert(1)</script>", "log_tail": "ValueError: & so"}
    api.post(f"/trials/{failed['trial_id']}/fail", tail)
    api.report(running, 0, val_accuracy=0.2)
    return {"complete": complete, "failed": failed, "running": running}


def test_an_empty_master_shows_how_to_begin(api) -> None:
    text = page(api, "/")

    assert "tunefleet submit study.yaml" in text
    assert "tunefleet-worker run" in text


def test_the_first_page_shows_studies_and_workers(api, study) -> None:
    text = page(api, "/")

    assert 'href="/studies/digits-cnn"' in text
    assert "2 of 4 trials" in text
    assert ">0.9<" in text
    assert "NVIDIA H200" in text
    assert f"digits-cnn #{study['running']['number']}" in text


def test_a_study_shows_its_facts_its_best_trial_and_its_trials(api, study) -> None:
    text = page(api, "/studies/digits-cnn")

    assert "maximize <code>val_accuracy</code>" in text
    assert f"trial {study['complete']['number']}</a>" in text
    assert re.findall(r'<th scope="row" class="num"><a href="/trials/(\d+)"', text) == ["4", "3", "2", "1"]
    assert 'title="' + repr(study["complete"]["params"]["lr"]) in text


def test_a_study_whose_space_was_changed_shows_both_versions(api) -> None:
    api.submit(name="edited")
    assert "Changes of the space" not in page(api, "/studies/edited")
    assert api.http.patch("/api/v1/studies/edited", json={"space": {"lr": {"log": [1e-5, 1.0]}}}).status_code == 200
    text = page(api, "/studies/edited")

    assert "Changes of the space" in text
    assert re.findall(r"<td>(log \[[^<]*)</td>", text)[-1] == "log [1e-05, 1.0]"
    assert len(re.findall(r"<td>(log \[[^<]*)</td>", text)) == 2


def test_a_study_without_an_eligible_worker_states_the_reason_on_both_pages(api) -> None:
    api.submit(name="large", resources={"gpus": 2})
    api.claim("small-one", wait_s=0, facts={"gpus_per_slot": 1})
    reason = "it needs a worker that has 2 GPUs in a slot; the one that is alive does not"

    assert f"No worker can run its trials: {reason}" in page(api, "/")
    assert f"No worker can run trials of this study: {reason}" in page(api, "/studies/large")


def test_a_worker_in_cooldown_states_the_reason_and_the_remaining_time(api) -> None:
    facts = {"resting_s": 3600, "status": "rests: 3 different trials failed here in a row"}
    api.post("/heartbeats", {"worker": "tired", "facts": facts})

    for path in ("/", "/workers"):
        assert re.search(
            r"rests: 3 different trials failed here in a row; <time .*>(59 m 5\d s|1 h)</time> to go", page(api, path)
        )


def test_a_stopped_study_counts_what_ran(api, study) -> None:
    api.http.patch("/api/v1/studies/digits-cnn", json={"state": "stopped"})
    assert "2 of 4 trials" in page(api, "/studies/digits-cnn")


def test_a_column_header_sorts_trials_best_first(api, study) -> None:
    link = re.search(r'href="(\?[^"]*sort=value[^"]*)"', page(api, "/studies/digits-cnn"))
    assert link is not None

    text = page(api, "/studies/digits-cnn" + link[1].replace("&amp;", "&"))

    order = re.findall(r'<th scope="row" class="num"><a href="/trials/(\d+)"', text)
    assert order[:2] == [str(study["complete"]["trial_id"]), str(study["running"]["trial_id"])]
    assert 'aria-sort="descending"' in text


def test_trials_are_filtered_by_state(api, study) -> None:
    text = page(api, "/studies/digits-cnn?state=failed")

    assert re.findall(r'<th scope="row" class="num"><a href="/trials/(\d+)"', text) == [
        str(study["failed"]["trial_id"])
    ]


def test_long_studies_are_paged(api) -> None:
    api.submit(name="long", budget={"trials": 200}, space={"lr": {"float": [0.001, 1]}})
    body = {"params": [{"lr": index / 1_000} for index in range(1, 101)]}
    assert api.post("/studies/long/trials", body).status_code == 201

    first = page(api, "/studies/long?sort=params.lr")
    second = page(api, "/studies/long?sort=params.lr&page=2")

    assert first.count('<th scope="row"') == second.count('<th scope="row"') == 50
    assert 'rel="next" href="?sort=params.lr&amp;page=2"' in first
    assert 'rel="prev"' in second


def test_a_trial_shows_its_configuration_curves_and_attempts(api, study) -> None:
    text = page(api, f"/trials/{study['complete']['trial_id']}")

    assert study["complete"]["params"]["optimizer"] in text
    assert text.count('<figure class="chart">') == 2
    assert "train_loss" in text
    assert "loss over the steps" in text
    assert "Attempt 1" in text


def test_text_of_users_is_never_markup(api, study) -> None:
    text = page(api, f"/trials/{study['failed']['trial_id']}")

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert" not in text
    assert "ValueError: &amp; so" in text


def test_files_are_linked(api, study) -> None:
    lease = study["running"]
    sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    api.put_file(lease, "log.txt", b"hello", sha256)

    assert f'href="/api/v1/trials/{lease["trial_id"]}/artifacts/log.txt"' in page(api, f"/trials/{lease['trial_id']}")


def test_workers_have_a_page(api, study) -> None:
    assert "gpu-1" in page(api, "/workers")


def test_the_api_has_a_page_that_needs_nothing_from_elsewhere(api) -> None:
    text = page(api, "/docs")

    assert "/api/v1/claims" in text
    assert "request_id" in text
    assert "https://" not in text


@pytest.mark.parametrize("path", ["/", "/studies/digits-cnn", "/trials/1", "/workers", "/docs"])
def test_pages_have_nothing_inline(api, study, path) -> None:
    text = page(api, path)

    assert " style=" not in text
    assert "<style" not in text
    assert " onclick" not in text
    assert re.findall(r"<script[^>]*>", text) == re.findall(r'<script src="/static/[^"]*" defer>', text)


@pytest.mark.parametrize("path", ["/static/tunefleet.css", "/static/refresh.js", "/static/mark.svg"])
def test_static_files_are_served(api, path) -> None:
    answer = api.http.get(path)

    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/static/../pages.py", "/static/..%2fpages.py", "/static/"])
def test_nothing_else_is_served(api, path) -> None:
    assert api.http.get(path).status_code == 404


def test_a_wrong_address_gets_a_page_in_a_browser(api) -> None:
    answer = api.http.get("/studies/nothing", headers=HTML)

    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "nothing" in answer.text

"""Looking at predictions: by the API, the client, the command line and the pages; no file is trusted."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.commands import Ran, tunefleet
from tests.integration.conftest import Api

from tunefleet.client.client import Client
from tunefleet.errors import NotFound
from tunefleet.protocol.looks import LabelLook, StudyLook, TrialLook
from tunefleet.protocol.predictions import MAX_BYTES

CLASSES = ["cat", "dog"]
LABELS = [0, 0, 0, 1, 1, 1]
PICTURE = {"shape": [2, 2, 1], "values": "AAECAw=="}
SIGNAL = {"shape": [1, 3], "values": "AP8z"}

# Of each trial, the probability of a dog; the first is the best. Everybody holds sample 50 for a cat.
BEST = [0.1, 0.9, 0.2, 0.8, 0.9, 0.1]
OTHERS = [0.2, 0.1, 0.9, 0.7, 0.8, 0.05]


def predictions(dogs: list[float] = BEST, **changes: Any) -> bytes:
    data = {
        "model": "best",
        "classes": CLASSES,
        "ids": [10 * place for place in range(len(dogs))],
        "labels": LABELS[: len(dogs)],
        "probabilities": [[round(1 - dog, 4), dog] for dog in dogs],
        "pictures": {"1": PICTURE, "5": SIGNAL},
    }
    return json.dumps({**data, **changes}).encode()


def put(api: Api, lease: dict[str, Any], content: bytes, name: str = "predictions.json") -> None:
    answer = api.put_file(lease, name, content, hashlib.sha256(content).hexdigest())
    assert answer.is_success, answer.text


def looked_at(api: Api, name: str, *contents: bytes | None) -> list[dict[str, Any]]:
    """A study with one complete trial for each content, the first the best."""
    api.submit(name=name, budget={"trials": len(contents)})
    leases: list[dict[str, Any]] = []
    while len(leases) < len(contents):
        leases += api.claim(slots=len(contents), study=name)
    for place, (lease, content) in enumerate(zip(leases, contents, strict=True)):
        api.report(lease, 0, val_accuracy=1 - place / 10)
        if content is not None:
            put(api, lease, content)
        api.complete(lease)
    return leases


def test_a_trial_shows_its_surest_and_its_worst_with_pictures(api: Api) -> None:
    [lease] = looked_at(api, "one", predictions())
    found = TrialLook.model_validate(api.get(f"/trials/{lease['trial_id']}/look").json())
    assert (found.study, found.trial, found.n_samples, found.n_wrong, found.model) == ("one", 0, 6, 2, "best")
    assert [(each.id, each.label, each.predicted) for each in found.confidently_wrong] == [
        (10, "cat", "dog"),
        (50, "dog", "cat"),
    ]
    assert found.confidently_wrong[0].picture is not None
    assert found.best[0].picture is None


def test_trials_are_compared_on_the_same_samples(api: Api) -> None:
    numbers = [lease["number"] for lease in looked_at(api, "many", *map(predictions, (BEST, OTHERS, OTHERS)))]
    found = StudyLook.model_validate(api.get("/studies/many/look").json())
    assert (found.trials, found.n_samples, found.left_out) == (numbers, 6, [])
    assert [each.id for each in found.best_wrong] == [10]
    assert [opinion.is_right for opinion in found.best_wrong[0].opinions] == [False, True, True]
    assert [each.id for each in found.best_right] == [20]
    assert [each.id for each in found.all_wrong] == [50]


def test_labels_that_all_doubt_are_suspected_first_and_asked_of_other_folds_too(api: Api) -> None:
    fold = predictions([0.1, 0.1, 0.3, 0.2, 0.9, 0.9], ids=[1, 2, 3, 4, 5, 6])
    looked_at(api, "labels", *map(predictions, (BEST, OTHERS, OTHERS)), fold)
    found = LabelLook.model_validate(api.get("/studies/labels/labels?count=2").json())
    assert (found.n_samples, len(found.trials)) == (12, 4)
    first, second = found.issues
    assert (first.id, first.label, first.suggested, first.n_opinions, first.is_suspected) == (50, "dog", "cat", 3, True)
    assert first.margin == pytest.approx(0.8667, abs=1e-3)
    assert (second.id, second.n_opinions) == (4, 1)
    across = StudyLook.model_validate(api.get("/studies/labels/look").json())
    assert len(across.trials) == 3
    assert "shares only 0 of the 6 samples" in across.left_out[0]


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95cos\nsystem\n",
        b"{}",
        b"[" * 100_000,
        predictions(labels=[7] * 6),
        b" " * (MAX_BYTES + 1) if MAX_BYTES < 2_900_000 else b" " * 2_900_000,
    ],
    ids=["pickle", "empty", "deep", "labels", "large"],
)
def test_a_file_that_holds_something_else_is_told_and_left_out(api: Api, content: bytes) -> None:
    _, bad = looked_at(api, "bad", predictions(), content)
    answer = api.get(f"/trials/{bad['trial_id']}/look")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "holds no predictions" in answer.json()["detail"]
    for path in ("look", "labels"):
        found = api.get(f"/studies/bad/{path}").json()
        assert len(found["trials"]) == 1
        assert "predictions.json of trial" in found["left_out"][0]
    assert api.http.get(f"/trials/{bad['trial_id']}").status_code == 200


def test_trials_with_other_classes_or_labels_are_not_compared(api: Api) -> None:
    looked_at(api, "odd", predictions(), predictions(classes=["a", "b"]), predictions(labels=[1, 0, 0, 1, 1, 1]))
    for path in ("look", "labels"):
        told = api.get(f"/studies/odd/{path}").json()["left_out"]
        assert ["other classes" in told[0], "another label for sample 0" in told[1]] == [True, True]


def test_what_has_no_predictions_says_how_to_get_some(api: Api) -> None:
    [lease] = looked_at(api, "none", None)
    for path in (f"/trials/{lease['trial_id']}/look", "/studies/none/look", "/studies/none/labels"):
        answer = api.get(path)
        assert answer.status_code == 404
        assert "data.probe" in answer.json()["hint"]
    assert api.get("/studies/nowhere/look").status_code == 404
    assert api.get("/studies/none/labels?count=501").json()["errors"][0]["field"] == "count"
    page = api.http.get("/studies/none/look", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "no complete trial of study" in page.text


def test_pages_draw_samples_from_the_data_and_escape_what_they_are_called(api: Api) -> None:
    classes = ["<script>alert(1)</script>", "dog"]
    pages = [predictions(dogs, classes=classes) for dogs in (BEST, OTHERS, OTHERS)]
    lease, *_ = looked_at(api, "pages", *pages)
    trial = api.http.get(f"/trials/{lease['trial_id']}", headers={"Accept": "text/html"})
    across = api.http.get("/studies/pages/look", headers={"Accept": "text/html"})
    for page in (trial, across):
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;alert(1)" in page.text
        assert len(re.findall(r'<img src="data:image/png;base64,[A-Za-z0-9+/=]+" alt="sample 10', page.text)) >= 1
        assert '<polyline class="line s0" points="0.0,96.0 48.0,0.0 96.0,76.8"/>' in page.text
        assert "style=" not in page.text
        assert "img-src 'self' data:" in page.headers["content-security-policy"]
    assert "Confidently wrong" in trial.text
    assert "The best trial is wrong, most others are right" in across.text
    assert "Labels that may be wrong" in across.text
    assert 'href="/studies/pages/look"' in api.http.get("/studies/pages", headers={"Accept": "text/html"}).text


def look(client: Client, folder: Path, *arguments: str) -> Ran:
    return tunefleet("look", *arguments, url=client.url, folder=folder)


def test_the_command_prints_tables_and_saves_pictures(client: Client, tmp_path: Path) -> None:
    with httpx.Client(base_url=client.url, timeout=60) as http:
        looked_at(Api(http), "told", *map(predictions, (BEST, OTHERS, OTHERS)))
    study = client.study("told")
    one = look(client, tmp_path, "told", "0")
    assert one.returncode == 0, one.stderr
    assert "is wrong about 2 of 6 samples" in one.stdout
    assert any(line.split()[:5] == ["confidently", "wrong", "10", "cat", "dog"] for line in one.stdout.splitlines())
    assert (tmp_path / "look-told-0.svg").read_text().startswith("<svg ")
    across = look(client, tmp_path, "told", "--out", "across.svg")
    assert "best is wrong" in across.stdout
    assert (tmp_path / "across.svg").exists()
    labels = look(client, tmp_path, "told", "--labels", "--json")
    assert LabelLook.model_validate_json(labels.stdout) == study.label_errors()
    assert len(list(tmp_path.iterdir())) == 2
    assert study.look().n_samples == 6
    assert study.look_at(0).n_wrong == 2


def test_the_command_explains_what_it_cannot_do(client: Client, tmp_path: Path) -> None:
    waiting = client.submit(Api.study_of(name="empty")).add(lr=0.1, optimizer="sgd")
    with pytest.raises(NotFound, match="has no predictions"):
        client.study("empty").look_at(waiting.number)
    assert "leave TRIAL out" in look(client, tmp_path, "empty", "0", "--labels").stderr
    nothing = look(client, tmp_path, "empty")
    assert (nothing.returncode, "hint: Built-in tasks store them" in nothing.stderr) == (2, True)

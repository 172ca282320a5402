"""Bad requests, each with its document."""

from __future__ import annotations

from pathlib import Path

import pytest

JSON = {"Content-Type": "application/json"}


def post(api, content: bytes, path: str = "/claims", headers: dict[str, str] | None = None):
    return api.http.post(f"/api/v1{path}", content=content, headers=JSON if headers is None else headers)


@pytest.mark.parametrize("content", [b'{"worker": ', b"\xff\xfe", b"[" * 50_000, b"{'worker': 1}", b"1" * 5_000])
def test_a_body_that_is_not_json_is_malformed(api, content) -> None:
    answer = post(api, content)

    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("malformed_json", "invalid_input")
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_position_of_malformed_json_is_named(api) -> None:
    answer = post(api, b'{"worker": "w1",}')

    assert answer.status_code == 400
    assert "at character" in answer.json()["detail"]


def test_nan_where_it_cannot_be_is_no_crash(api) -> None:
    answer = post(api, b'{"worker": "w1", "slots": NaN, "wait_s": Infinity}')

    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"slots", "wait_s"}


def test_half_a_character_is_no_crash(api) -> None:
    answer = post(api, rb'{"worker": "\ud800", "\udfff": 1}')

    assert answer.status_code == 422


def test_a_body_without_a_json_content_type_is_refused_with_a_hint(api) -> None:
    answer = post(api, b'{"worker": "w1"}', headers={"Content-Type": "text/plain"})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "application/json" in answer.json()["detail"]


def test_a_missing_body_is_named(api) -> None:
    assert post(api, b"").json()["errors"] == [{"field": "body", "rule": "is required"}]


def test_an_unknown_key_is_refused_with_a_suggestion(api) -> None:
    problem = post(api, b'{"worker": "w1", "slot": 2}').json()

    assert problem["errors"] == [{"field": "slot", "rule": "unknown key 'slot'; did you mean 'slots'?"}]


def test_a_long_value_is_not_repeated_whole(api) -> None:
    problem = post(api, b'{"worker": "' + b"!" * 50_000 + b'"}')

    assert len(problem.content) < 2_000


@pytest.mark.parametrize("path", ["/trials/99999999999999999999", "/trials/-1", "/trials/one", "/studies/a%20b"])
def test_an_impossible_name_in_a_path_is_invalid(api, path) -> None:
    assert api.get(path).json()["code"] == "invalid_input"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/v1/studies/nothing", 404, "not_found"),
        ("GET", "/api/v1/trials/1", 404, "not_found"),
        ("DELETE", "/api/v1/claims", 405, "method_not_allowed"),
        ("POST", "/", 405, "method_not_allowed"),
    ],
)
def test_a_missing_resource_is_a_document_too(api, method, path, status, code) -> None:
    answer = api.http.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_over_the_limit_is_refused(api) -> None:
    answer = post(api, b" " * 100_001)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_a_database_that_fails_is_unusable_for_a_while(api, settings) -> None:
    api.submit()
    database = Path(settings.database.removeprefix("sqlite:///"))
    content = bytearray(database.read_bytes())
    content[100:] = b"\x00" * (len(content) - 100)
    database.with_name(f"{database.name}-wal").write_bytes(b"")
    database.write_bytes(content)

    answer = api.get("/studies/study")

    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unusable")
    assert int(answer.headers["retry-after"]) > 0

"""Operations of a master: health, metrics, the API's description, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tunefleet_master.app import create_app
from tunefleet_master.settings import Settings

TOKEN = "correct-horse"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(data=tmp_path, token=TOKEN)), "http://127.0.0.1") as client:
        yield client


def test_a_master_that_serves_is_alive_and_ready(api) -> None:
    assert api.http.get("/healthz").json() == {"status": "ok"}
    assert api.http.get("/readyz").json() == {"status": "ready"}


def test_every_route_is_described_with_its_responses_and_errors(api) -> None:
    document = api.get("/openapi.json").json()
    operations = {
        f"{method} {path}": operation for path, item in document["paths"].items() for method, operation in item.items()
    }

    assert len(operations) >= 25
    for name, operation in operations.items():
        assert operation["summary"], name
        assert operation["description"], name
        assert any(status.startswith("2") for status in operation["responses"]), name
    claim = operations["post /api/v1/claims"]
    assert claim["responses"]["422"]["content"].keys() == {"application/problem+json"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize("path", ["/", "/api/v1/studies", "/metrics", "/docs", "/api/v1/openapi.json"])
def test_with_a_token_nothing_is_open(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 401
    assert guarded.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_with_a_token_health_is_open(guarded: TestClient) -> None:
    assert guarded.get("/healthz").status_code == 200
    assert guarded.get("/readyz").status_code == 200

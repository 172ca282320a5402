"""The middlewares around an application that only reads its body."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from tunefleet_master.api.limits import BodyLimit, SecurityHeaders
from tunefleet_master.settings import Settings

LIMIT = 1_000
SHA = "a" * 64


async def count(request: Request) -> int:
    return sum([len(chunk) async for chunk in request.stream()])


@pytest.fixture
def counting() -> FastAPI:
    app = FastAPI()
    app.add_api_route("/{path:path}", count, methods=["POST", "PUT", "GET"])
    return app


def limited(app: ASGIApp) -> TestClient:
    settings = Settings(data=Path("/data"), max_body_bytes=LIMIT, max_artifact_bytes=3_000, max_bundle_bytes=2_000)
    return TestClient(BodyLimit(app, settings))


def in_chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 100):
        yield b"x" * 100


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/api/v1/studies", LIMIT),
        ("/api/v1/trials/1/artifacts/model", 3_000),
        (f"/api/v1/bundles/{SHA}", 2_000),
        ("/api/v1/trials/1/artifacts/model/more", LIMIT),
        ("/elsewhere/api/v1/bundles/x", LIMIT),
    ],
)
def test_a_body_may_be_as_large_as_its_path_allows(counting: FastAPI, path: str, limit: int) -> None:
    client = limited(counting)

    assert client.put(path, content=b"x" * limit).json() == limit
    refused = client.put(path, content=b"x" * (limit + 1))
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


def test_a_body_without_a_length_is_cut_when_it_passes_the_limit(counting: FastAPI) -> None:
    client = limited(counting)

    assert client.post("/api/v1/studies", content=in_chunks(LIMIT)).json() == LIMIT
    assert client.post("/api/v1/studies", content=in_chunks(LIMIT + 100)).status_code == 413


def test_every_answer_keeps_browsers_from_guessing_and_framing(counting: FastAPI) -> None:
    headers = TestClient(SecurityHeaders(counting)).get("/").headers

    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]

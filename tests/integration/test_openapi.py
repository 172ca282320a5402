"""Requests generated from the OpenAPI document: responses conform to it, and nothing breaks the master (I11)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.chaos import amount

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ENDLESS = "/api/v1/studies/{name}/events"
"""A stream that does not end by itself; test_bad_input.py tests texts in its address."""


TOKEN = "of-the-one-who-tries-everything"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def page(start_master: Any, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The document of a master in its own process; its first token exists, so that no generated call creates it."""
    monkeypatch.setenv("TUNEFLEET_TOKEN", TOKEN)
    master = start_master("--database", database_url)
    return schemathesis.openapi.from_url(f"{master.url}/api/v1/openapi.json", headers=AUTHORIZED).exclude(path=ENDLESS)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("mode", GenerationMode)
def test_every_call_behaves_as_documented(page: Any, mode: GenerationMode) -> None:
    tried: set[str] = set()

    @given(data=st.data())
    @settings(max_examples=amount(5, 300), suppress_health_check=list(HealthCheck))
    def check(operation: Any, data: st.DataObject) -> None:
        case: Any = data.draw(operation.as_strategy(generation_mode=mode))
        tried.add(operation.label)
        if isinstance(case.body, dict) and "wait_s" in case.body:
            case.body["wait_s"] = 0  # a long poll would only take time
        case.call_and_validate(checks=CHECKS, headers=AUTHORIZED)

    for operation in page.get_all_operations():
        with suppress(Unsatisfiable):  # a call that takes nothing cannot be given something wrong
            check(operation.ok())
    assert len(tried) > 20

"""A hot route answers as FastAPI does, whatever it is sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from tunefleet.errors import NotFound
from tunefleet.protocol import Directive, Lease, ReportBatch
from tunefleet_master.api import problems
from tunefleet_master.api.hot_route import HotRoute
from tunefleet_master.api.trials import Id
from tunefleet_master.parts import PartsOf

JSON = {"Content-Type": "application/json"}
GOOD = b'{"attempt": 1, "reports": [{"step": 3, "metrics": {"loss": 0.5}}]}'


def application(route_class: type[APIRoute]) -> TestClient:
    router = APIRouter(route_class=route_class)

    @router.post("/trials/{trial_id}/reports")
    async def report(parts: PartsOf, request: Request, trial_id: Id, batch: ReportBatch) -> Directive:
        if trial_id == 404:
            raise NotFound("there is no trial with id 404.")
        text = f"{trial_id!r} {batch.model_dump_json()} {request.method}"
        return Directive(directive="continue", message=text)

    app = FastAPI()
    app.router.routes.extend(router.routes)
    problems.install(app, lambda request, problem: problems.answer(problem))
    app.state.parts = SimpleNamespace(telemetry=SimpleNamespace(refused=lambda status, code: None))
    return TestClient(app, raise_server_exceptions=False)


HOT, PLAIN = application(HotRoute), application(APIRoute)


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/trials/7/reports", GOOD, JSON),
        ("/trials/7/reports?more=1", GOOD, {"Content-Type": "Application/JSON; charset=utf-8"}),
        ("/trials/7/reports", GOOD.decode().encode("utf-16"), JSON),
        ("/trials/7/reports", b'{"attempt": "1", "reports": [{"step": 3.0, "metrics": {"loss": "NaN"}}]}', JSON),
        ("/trials/7/reports", b'{"attempt": 1, "reports": [{"step": 3, "metrics": {"loss": -Infinity}}]}', JSON),
        ("/trials/7/reports", GOOD.replace(b"}]", b'}], "attempt": 2'), JSON),
        ("/trials/7/reports", GOOD.replace(b"step", b"stap"), JSON),
        ("/trials/7/reports", b'{"attempt": 0, "reports": []}', JSON),
        ("/trials/7/reports", b'{"attempt": true}', JSON),
        ("/trials/7/reports", b"[]", JSON),
        ("/trials/7/reports", b"null", JSON),
        ("/trials/7/reports", b"", JSON),
        ("/trials/7/reports", b'{"attempt": 1', JSON),
        ("/trials/7/reports", b"\xff\xfe\xff", JSON),
        ("/trials/7/reports", b'"\xed\xa0\x80"', JSON),
        ("/trials/7/reports", b"[" * 100_000, JSON),
        ("/trials/7/reports", GOOD, {}),
        ("/trials/7/reports", GOOD, {"Content-Type": "text/plain"}),
        ("/trials/7/reports", GOOD, {"Content-Type": "application/problem+json"}),
        ("/trials/+7/reports", GOOD, JSON),
        ("/trials/-7/reports", GOOD, JSON),
        ("/trials/007/reports", GOOD, JSON),
        ("/trials/7.0/reports", GOOD, JSON),
        ("/trials/seven/reports", GOOD, JSON),
        ("/trials/%D9%A7/reports", GOOD, JSON),
        (f"/trials/{10**18 - 1}/reports", GOOD, JSON),
        (f"/trials/{2**63 - 1}/reports", GOOD, JSON),
        (f"/trials/{2**63}/reports", GOOD, JSON),
        ("/trials/404/reports", GOOD, JSON),
    ],
)
def test_a_hot_route_answers_as_any_other(path: str, body: bytes, headers: dict[str, str]) -> None:
    hot, plain = (client.post(path, content=body, headers=headers) for client in (HOT, PLAIN))

    assert (hot.status_code, hot.content) == (plain.status_code, plain.content)
    assert dict(hot.headers) == dict(plain.headers)


def test_another_method_is_refused_as_on_any_other_route() -> None:
    hot, plain = (client.get("/trials/7/reports") for client in (HOT, PLAIN))

    assert (hot.status_code, hot.content) == (plain.status_code, plain.content) == (405, plain.content)


def test_what_the_api_page_says_is_the_same() -> None:
    pages: list[Any] = [client.get("/openapi.json").json() for client in (HOT, PLAIN)]

    assert pages[0] == pages[1]


def test_an_answer_is_written_as_any_other() -> None:
    lease = {
        **{"trial_id": 1, "attempt": 1, "study": "s", "number": 0, "params": {"x": 1e-300, "ü": None}, "seed": 3},
        **{"steps": None, "run": {"task": "t", "option": [1]}, "data": {}, "trial_timeout_s": None, "resume": None},
        "objective": {"metric": "loss", "goal": "minimize"},
    }
    answers = []
    for route_class in (HotRoute, APIRoute):
        router = APIRouter(route_class=route_class)

        @router.post("/echo")
        async def echo(parts: PartsOf, body: Lease) -> Lease:
            return body

        app = FastAPI()
        app.router.routes.extend(router.routes)
        app.state.parts = None
        answers.append(TestClient(app).post("/echo", json=lease))

    assert answers[0].status_code == 200
    assert answers[0].content == answers[1].content

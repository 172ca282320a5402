"""A fast route responds as FastAPI does, whatever the request."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.testclient import TestClient

from tunefleet.errors import NotFound
from tunefleet.protocol import Directive, Lease, ReportBatch
from tunefleet_master.access import Access, needs
from tunefleet_master.api import problems
from tunefleet_master.api.auth_middleware import protect
from tunefleet_master.api.fast_path import FastPath, FastPathRoute
from tunefleet_master.api.limits import BodyLimit, SecurityHeaders
from tunefleet_master.api.measure import Measure
from tunefleet_master.api.trials import Id
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.settings import Settings

JSON = {"Content-Type": "application/json"}
GOOD = b'{"attempt": 1, "reports": [{"step": 3, "metrics": {"loss": 0.5}}]}'
LIMIT = 50_000


class Metrics:
    """Records the calls that count answers."""

    def __init__(self) -> None:
        self.counted: list[tuple[Any, ...]] = []

    def answered(self, method: str, route: str, *, status: int, seconds: float) -> None:
        self.counted.append((method, route, status))

    def refused(self, status: int, code: str) -> None:
        self.counted.append((status, code))


class Application:
    """A small master with the same routes, with the fast path or without it."""

    def __init__(self, *, uses_fast_path: bool, is_open: bool = True) -> None:
        self.metrics = Metrics()
        self.n_past_the_fast_path = 0
        self.app = self._made(uses_fast_path=uses_fast_path)
        token_cache = SimpleNamespace(is_open=is_open, caller_of=lambda token: None)
        self.app.state.services = SimpleNamespace(metrics=self.metrics, token_cache=token_cache)
        self.client = TestClient(self.app, raise_server_exceptions=False, base_url="http://localhost")

    def _made(self, *, uses_fast_path: bool) -> FastAPI:
        settings = Settings(data=Path("unused"), max_body_bytes=LIMIT)
        app = FastAPI()
        app.router.routes = list(_router().routes)
        authenticator = protect(app, settings)
        problems.install(app, lambda request, problem: problems.answer(problem))
        app.add_middleware(BodyLimit, settings=settings)
        app.add_middleware(Measure, metrics=cast("Any", self.metrics))
        app.add_middleware(SecurityHeaders)
        if uses_fast_path:
            stack = app.build_middleware_stack()

            async def fallback(scope: Any, receive: Any, send: Any) -> None:
                self.n_past_the_fast_path += 1
                await stack(scope, receive, send)

            app.middleware_stack = FastPath(app, fallback, authenticator=authenticator, max_body_bytes=LIMIT)
        return app


def _router() -> APIRouter:
    router = APIRouter(route_class=FastPathRoute)

    @router.post("/trials/{trial_id}/reports")
    @needs(Access.ATTEMPT)
    async def report(services: ServicesOf, request: Request, trial_id: Id, batch: ReportBatch) -> Directive:
        if trial_id == 404:
            raise NotFound("there is no trial with id 404.")
        if trial_id == 500:
            raise RuntimeError("a bug")
        text = f"{trial_id!r} {batch.model_dump_json()} {request.method} {request.scope['caller'].name}"
        return Directive(directive="continue", message=text)

    @router.post("/echo")
    @needs(Access.WORK)
    async def echo(services: ServicesOf, body: Lease) -> Lease:
        return body

    return router


def both(**options: Any) -> tuple[Application, Application]:
    return Application(uses_fast_path=True, **options), Application(uses_fast_path=False, **options)


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
        ("/trials/7/reports", GOOD + b" " * LIMIT, JSON),
        ("/trials/7/reports", GOOD, {**JSON, "Origin": "http://elsewhere.example"}),
        ("/trials/7/reports", GOOD, {**JSON, "Host": "elsewhere.example"}),
        ("/trials/7/reports/", GOOD, JSON),
        ("/more/trials/7/reports", GOOD, JSON),
        ("/trials/7/8/reports", GOOD, JSON),
        ("/trials//reports", GOOD, JSON),
    ],
)
def test_a_fast_route_responds_like_any_other(path: str, body: bytes, headers: dict[str, str]) -> None:
    fast, plain = both()
    quick, slow = (each.client.post(path, content=body, headers=headers) for each in (fast, plain))

    assert (quick.status_code, quick.content) == (slow.status_code, slow.content)
    assert dict(quick.headers) == dict(slow.headers)
    assert fast.metrics.counted == plain.metrics.counted


def test_a_valid_request_takes_the_fast_path() -> None:
    fast, _ = both()

    assert fast.client.post("/trials/7/reports", content=GOOD, headers=JSON).status_code == 200
    assert fast.n_past_the_fast_path == 0
    assert fast.client.post("/trials/7/reports", content=b"{}", headers=JSON).status_code == 422
    assert fast.n_past_the_fast_path == 1


def test_a_bug_in_the_master_is_an_internal_error() -> None:
    fast, plain = both()
    quick, slow = (each.client.post("/trials/500/reports", content=GOOD, headers=JSON) for each in (fast, plain))

    assert (quick.status_code, quick.content) == (slow.status_code, slow.content) == (500, slow.content)
    assert fast.metrics.counted[0] == plain.metrics.counted[-1] == (500, "internal")


def test_a_body_without_a_declared_length_is_counted_by_the_application() -> None:
    for each in both():
        body = (GOOD, b" " * LIMIT)
        assert each.client.post("/trials/7/reports", content=iter(body), headers=JSON).status_code == 413


def test_a_request_without_a_required_token_is_refused() -> None:
    fast, plain = both(is_open=False)
    quick, slow = (each.client.post("/trials/7/reports", content=GOOD, headers=JSON) for each in (fast, plain))

    assert (quick.status_code, quick.content) == (slow.status_code, slow.content)
    assert quick.status_code == 401


def test_another_method_is_refused_as_on_any_other_route() -> None:
    quick, slow = (each.client.get("/trials/7/reports") for each in both())

    assert (quick.status_code, quick.content) == (slow.status_code, slow.content) == (405, slow.content)


def test_a_response_is_serialised_like_any_other() -> None:
    lease = {
        **{"trial_id": 1, "attempt": 1, "study": "s", "number": 0, "params": {"x": 1e-300, "ü": None}, "seed": 3},
        **{"steps": None, "run": {"task": "t", "option": [1]}, "data": {}, "trial_timeout_s": None, "resume": None},
        "objective": {"metric": "loss", "goal": "minimize"},
    }
    quick, slow = (each.client.post("/echo", json=lease) for each in both())

    assert quick.status_code == 200
    assert quick.content == slow.content

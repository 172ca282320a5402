"""Access to every route of the application, with every kind of token and without one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from tunefleet_master.access import GRANTED_BY, OPEN, Access
from tunefleet_master.api.auth_middleware import declared, protect
from tunefleet_master.app import create_app
from tunefleet_master.settings import Settings

ADMIN = "the-admin's-of-these-tests"
SCOPES = ("admin", "submit", "work", "read", "attempt")
SHA = "a" * 64

LOOK = "admin submit read"
FETCH = "admin submit work read"
SUBMIT = "admin submit"
WORK = "admin work"

# Written out, so that a review shows every change of access.
OPENED_BY = {
    "GET /": LOOK,
    "GET /docs": LOOK,
    "GET /metrics": LOOK,
    "GET /workers": LOOK,
    "GET /studies/{name}": LOOK,
    "GET /studies/{name}/look": LOOK,
    "GET /trials/{trial_id}": LOOK,
    "GET /api/v1/openapi.json": LOOK,
    "HEAD /api/v1/openapi.json": LOOK,
    "GET /api/v1/schema/study": LOOK,
    "GET /api/v1/status": LOOK,
    "GET /api/v1/workers": LOOK,
    "GET /api/v1/studies": FETCH,
    "POST /api/v1/studies": SUBMIT,
    "GET /api/v1/studies/{name}": FETCH,
    "PATCH /api/v1/studies/{name}": SUBMIT,
    "DELETE /api/v1/studies/{name}": SUBMIT,
    "POST /api/v1/studies/{name}/retry": SUBMIT,
    "GET /api/v1/studies/{name}/events": LOOK,
    "GET /api/v1/studies/{name}/configurations": LOOK,
    "GET /api/v1/studies/{name}/findings": LOOK,
    "GET /api/v1/studies/{name}/front": LOOK,
    "GET /api/v1/studies/{name}/look": LOOK,
    "GET /api/v1/studies/{name}/labels": LOOK,
    "GET /api/v1/trials/{trial_id}/look": LOOK,
    "POST /api/v1/studies/{name}/trials": SUBMIT,
    "GET /api/v1/studies/{name}/trials": LOOK,
    "GET /api/v1/studies/{name}/trials/{number}": LOOK,
    "PUT /api/v1/bundles/{sha256}": SUBMIT,
    "HEAD /api/v1/bundles/{sha256}": SUBMIT,
    "GET /api/v1/bundles/{sha256}": FETCH,
    "POST /api/v1/claims": WORK,
    "POST /api/v1/heartbeats": WORK,
    "GET /api/v1/trials/{trial_id}": f"{FETCH} attempt",
    "GET /api/v1/trials/{trial_id}/telemetry": LOOK,
    "GET /api/v1/trials/{trial_id}/findings": LOOK,
    "GET /api/v1/trials/{trial_id}/artifacts/{name}": f"{FETCH} attempt",
    "PUT /api/v1/trials/{trial_id}/artifacts/{name}": f"{WORK} attempt",
    "HEAD /api/v1/trials/{trial_id}/artifacts/{name}": f"{WORK} attempt",
    "POST /api/v1/trials/{trial_id}/reports": f"{WORK} attempt",
    "POST /api/v1/trials/{trial_id}/complete": f"{WORK} attempt",
    "POST /api/v1/trials/{trial_id}/fail": f"{WORK} attempt",
    "POST /api/v1/trials/{trial_id}/release": f"{WORK} attempt",
    "POST /api/v1/tokens": "admin",
    "GET /api/v1/tokens": "admin",
    "DELETE /api/v1/tokens/{name}": "admin",
}
OPEN_TO_ALL = {"GET /healthz", "GET /readyz", "GET /login", "POST /login", "POST /logout", "/static"}


def routes() -> dict[str, Route | Mount]:
    """All routes of the application, each by its method and path."""
    found: dict[str, Route | Mount] = {}
    for route in create_app(Settings(data=Path("/nowhere"))).routes:
        assert isinstance(route, Route | Mount)
        methods = route.methods or () if isinstance(route, Route) else ()
        found.update({f"{method} {route.path}": route for method in methods} or {route.path: route})
    return found


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = create_app(Settings(data=tmp_path_factory.mktemp("master"), token=ADMIN))
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as http:
        yield http


@pytest.fixture(scope="module")
def tokens(master: TestClient) -> dict[str, str]:
    """A token of each scope, and that of the first attempt of trial 1."""
    made = {"admin": ADMIN, "attempt": master.app.state.services.token_cache.token_of_attempt(1, 1)}  # type: ignore[attr-defined]
    for scope in ("submit", "work", "read"):
        body = {"name": scope, "scopes": [scope]}
        made[scope] = master.post("/api/v1/tokens", json=body, headers=bearer(ADMIN)).json()["token"]
    return made


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask(master: TestClient, route: str, token: str | None) -> int:
    """Send a request without a body, which the handler refuses if the auth middleware lets it pass."""
    method, _, path = route.partition(" ")
    filled = path.format(name="nothing", number=0, trial_id=1, sha256=SHA)
    answer = master.request(method, filled, headers={} if token is None else bearer(token))
    return int(answer.status_code)


def test_every_route_is_in_one_of_the_tables() -> None:
    assert routes().keys() == OPENED_BY.keys() | OPEN_TO_ALL


def test_the_declared_access_of_every_route_is_found() -> None:
    for name, route in routes().items():
        scopes = set(OPENED_BY.get(name, "").split()) - {"attempt"}
        assert {str(scope) for scope in GRANTED_BY.get(declared(route), ())} == scopes, name
        assert (declared(route) in OPEN) == (name in OPEN_TO_ALL), name


def test_an_application_with_a_route_that_declares_nothing_is_not_built() -> None:
    settings = Settings(data=Path("/nowhere"))
    app = create_app(settings)
    router = APIRouter()
    router.add_api_route("/forgotten", lambda: None)
    app.router.routes.extend(router.routes)

    with pytest.raises(LookupError, match="/forgotten"):
        protect(app, settings)


def test_two_applications_in_one_process_have_their_own_auth_middleware(tmp_path: Path) -> None:
    asked = {"Host": "tune.example.org"}
    closed = create_app(Settings(data=tmp_path / "closed"))
    allowing = create_app(Settings(data=tmp_path / "allowing", allowed_hosts=("tune.example.org",)))

    with TestClient(closed) as first, TestClient(allowing) as second:
        assert first.get("/api/v1/status", headers=asked).status_code == 421
        assert second.get("/api/v1/status", headers=asked).status_code == 200


def test_every_access_but_the_open_ones_has_its_scopes() -> None:
    assert GRANTED_BY.keys() | OPEN == set(Access)
    assert not GRANTED_BY.keys() & OPEN


def test_the_page_on_security_shows_the_same_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| `(\w+)`: [^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|", page, re.MULTILINE)
    shown = {
        access: {scope for scope, cell in zip(SCOPES, cells, strict=False) if cell.strip() == "yes"}
        for access, *cells in rows
    }

    assert shown == {str(access): {str(scope) for scope in scopes} for access, scopes in GRANTED_BY.items()}


@pytest.mark.parametrize("route", OPENED_BY)
@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_grants_exactly_what_the_table_lists(
    master: TestClient, tokens: dict[str, str], route: str, scope: str
) -> None:
    status = ask(master, route, tokens[scope])

    if scope in OPENED_BY[route].split():
        assert status not in (401, 403)
    else:
        assert status == 403


@pytest.mark.parametrize("route", OPENED_BY)
def test_no_route_is_open_without_a_token(master: TestClient, route: str) -> None:
    assert ask(master, route, None) == 401


@pytest.mark.parametrize(
    "shown",
    [
        *("", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {ADMIN}x", f"Bearer {ADMIN[:-1]}", ADMIN, "Basic YTpi"),
        *(
            "Bearer ü",
            "Bearer tf_attempt_",
            "Bearer tf_attempt_1-1_",
            "Bearer tf_attempt_x_y",
            "Bearer tf_attempt_1-1_ü",
        ),
    ],
)
def test_a_foreign_token_grants_nothing(master: TestClient, shown: str) -> None:
    answer = master.get("/api/v1/trials/1", headers={"Authorization": shown.encode("latin-1")})

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_the_scheme_of_a_token_may_be_in_lower_case(master: TestClient) -> None:
    assert master.get("/api/v1/status", headers={"Authorization": f"bearer {ADMIN}"}).status_code == 200


@pytest.mark.parametrize("route", sorted(OPEN_TO_ALL - {"POST /login", "POST /logout", "/static"}))
def test_an_open_route_needs_no_token(master: TestClient, route: str) -> None:
    assert ask(master, route, None) == 200


def test_the_style_of_the_login_page_needs_no_token(master: TestClient) -> None:
    assert master.get("/static/tunefleet.css").status_code == 200


def test_refusals_have_stable_codes_and_name_the_needed_scope(master: TestClient, tokens: dict[str, str]) -> None:
    unknown = master.get("/api/v1/tokens")
    forbidden = master.get("/api/v1/tokens", headers=bearer(tokens["read"]))

    assert unknown.headers["content-type"] == forbidden.headers["content-type"] == "application/problem+json"
    assert unknown.headers["www-authenticate"].startswith("Bearer")
    assert unknown.json()["code"] == "unauthorized"
    assert forbidden.json()["code"] == "forbidden"
    assert "admin" in forbidden.json()["hint"]


def test_the_description_of_the_api_names_the_scopes(master: TestClient) -> None:
    page = master.get("/api/v1/openapi.json", headers=bearer(ADMIN)).json()

    assert page["paths"]["/api/v1/claims"]["post"]["security"] == [{"token": ["admin", "work"]}]
    assert page["paths"]["/healthz"]["get"]["security"] == []

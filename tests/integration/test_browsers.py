"""Browsers: they can log in for a session, but do nothing on behalf of another site."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tunefleet_master.app import create_app
from tunefleet_master.settings import Settings

TOKEN = "a-long-secret"
HTML = {"Accept": "text/html"}
OWN = {"Origin": "http://127.0.0.1:8765"}
EVIL = {"Origin": "http://evil.example"}


def started(folder: Path, **changes: Any) -> TestClient:
    app = create_app(Settings(data=folder, **changes))
    return TestClient(app, "http://127.0.0.1:8765", raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture
def master(tmp_path: Path) -> Iterator[TestClient]:
    with started(tmp_path, token=TOKEN) as http:
        yield http


@pytest.fixture
def open_master(tmp_path: Path) -> Iterator[TestClient]:
    with started(tmp_path / "open") as http:
        yield http


def log_in(master: TestClient, token: str = TOKEN, **fields: str) -> Any:
    return master.post("/login", data={"token": token, **fields}, headers=OWN)


def test_a_page_without_a_session_redirects_to_the_login_and_back(master: TestClient) -> None:
    asked = master.get("/studies/x?page=2", headers=HTML)
    assert asked.status_code == 303
    form = master.get(asked.headers["location"], headers=HTML).text
    back = re.search(r'name="next" value="([^"]*)"', form)
    assert back is not None

    entered = log_in(master, next=back[1])

    assert (entered.status_code, entered.headers["location"]) == (303, "/studies/x?page=2")
    assert master.get("/", headers=HTML).status_code == 200


def test_programs_get_a_document_and_no_redirect(master: TestClient) -> None:
    assert master.get("/api/v1/status", headers=HTML).status_code == 401
    assert master.get("/").status_code == 401


def test_the_session_cookie_is_hidden_from_scripts_and_other_sites_and_expires(master: TestClient) -> None:
    cookie = log_in(master).headers["set-cookie"]

    assert TOKEN not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "expires=" in cookie
    assert "Secure" not in cookie


def test_with_tls_the_session_cookie_is_secure(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path, token=TOKEN))
    with TestClient(app, "https://127.0.0.1", follow_redirects=False) as http:
        entered = http.post("/login", data={"token": TOKEN}, headers={"Origin": "https://127.0.0.1"})

    assert "; Secure" in entered.headers["set-cookie"]


def test_the_printed_link_logs_in_and_removes_the_token_from_the_address(master: TestClient) -> None:
    entered = master.get(f"/login?token={TOKEN}", headers=HTML)

    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert master.get("/", headers=HTML).status_code == 200


def test_a_wrong_token_begins_no_session(master: TestClient) -> None:
    for answer in (log_in(master, "wrong"), log_in(master, ""), master.get("/login?token=wrong")):
        assert answer.status_code == 401
        assert "not valid" in answer.text
        assert "set-cookie" not in answer.headers
    assert master.get("/").status_code == 401


@pytest.mark.parametrize("place", ["http://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\r\nb", ""])
def test_the_login_redirects_to_no_other_site(master: TestClient, place: str) -> None:
    assert log_in(master, next=place).headers["location"] == "/"


def test_logging_out_ends_the_session_in_the_browser(master: TestClient) -> None:
    log_in(master)
    assert "Log out" in master.get("/login").text

    left = master.post("/logout", headers=OWN)

    assert (left.status_code, left.headers["location"]) == (303, "/login")
    assert master.get("/").status_code == 401


def test_a_session_has_the_scopes_of_its_token_and_ends_with_it(master: TestClient) -> None:
    admin = {"Authorization": f"Bearer {TOKEN}"}
    body = {"name": "reader", "scopes": ["read"]}
    made = master.post("/api/v1/tokens", json=body, headers=admin).json()
    log_in(master, made["token"])
    assert master.get("/api/v1/status").status_code == 200
    assert master.get("/api/v1/tokens").json()["code"] == "forbidden"

    master.delete("/api/v1/tokens/reader", headers=admin)

    assert master.get("/api/v1/status").status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/studies"), ("PATCH", "/api/v1/studies/x"), ("DELETE", "/api/v1/studies/x"), ("POST", "/logout")],
)
def test_another_site_cannot_use_a_session(master: TestClient, method: str, path: str) -> None:
    log_in(master)

    for headers in (EVIL, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {}):
        refused = master.request(method, path, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert master.request(method, path, headers=OWN).status_code in (303, 404, 422)


def test_another_site_cannot_log_a_user_in(master: TestClient) -> None:
    assert master.post("/login", data={"token": TOKEN}, headers=EVIL).status_code == 403


def test_another_site_cannot_write_to_an_open_master(open_master: TestClient) -> None:
    assert open_master.post("/api/v1/studies", headers=EVIL).status_code == 403
    assert open_master.post("/api/v1/studies", headers=OWN).status_code == 422
    assert open_master.post("/api/v1/studies").status_code == 422  # curl


def test_a_name_of_another_site_that_points_here_reads_nothing(open_master: TestClient, master: TestClient) -> None:
    for http in (open_master, master):
        log_in(http)
        # The attacker's page has the same origin as its name then, and may set any header but the token's right one.
        for headers in ({}, {"Origin": "http://evil.example:8765"}, {"Authorization": "Bearer none"}):
            answer = http.get("/login", headers={"Host": "evil.example:8765", **headers})
            assert answer.status_code == 421
            assert answer.json()["code"] == "host_not_allowed"
            assert "--allow-host evil.example" in answer.json()["hint"]
        read = http.get("/api/v1/status", headers={"Host": "evil.example:8765"})
        assert read.status_code in (401, 421)


def test_a_refused_host_name_is_named(open_master: TestClient) -> None:
    page = open_master.get("/", headers={**HTML, "Host": "gpu-box"})

    assert page.status_code == 421
    assert "--allow-host gpu-box" in page.text


def test_an_allowed_name_is_accepted(tmp_path: Path) -> None:
    with started(tmp_path, allowed_hosts=("tune.example.org",)) as http:
        assert http.get("/", headers={"Host": "tune.example.org"}).status_code == 200


def test_a_caller_with_a_token_may_use_any_name(tmp_path: Path) -> None:
    with started(tmp_path, host="0.0.0.0", token=TOKEN) as http:
        headers = {"Host": "master:8765", "Authorization": f"Bearer {TOKEN}"}
        assert http.get("/api/v1/status", headers=headers).status_code == 200
        headers["Authorization"] = "Bearer wrong"
        assert http.get("/api/v1/status", headers=headers).status_code == 401
        assert http.get("/healthz", headers={"Host": "10-0-0-7.pods.cluster"}).status_code == 200


def test_a_master_that_strangers_can_reach_is_never_open(tmp_path: Path) -> None:
    with started(tmp_path, host="0.0.0.0") as http:
        token = http.app.state.first_token  # type: ignore[attr-defined]
        assert token.startswith("tf_admin_")
        assert http.get("/api/v1/status").status_code == 401
        assert http.get("/api/v1/status", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_the_first_token_closes_an_open_master(open_master: TestClient) -> None:
    assert "does not require tokens yet" in open_master.get("/login").text
    refused = open_master.post("/api/v1/tokens", json={"name": "ci", "scopes": ["read"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")

    made = open_master.post("/api/v1/tokens", json={"name": "me", "scopes": ["admin"]}).json()

    assert open_master.get("/api/v1/status").status_code == 401
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert open_master.get("/api/v1/status", headers=headers).status_code == 200
    assert made["token"] not in open_master.get("/api/v1/tokens", headers=headers).text


def test_a_client_over_its_rate_is_told_when_to_retry(tmp_path: Path) -> None:
    with started(tmp_path, token=TOKEN, rate_limit=5) as http:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answers = [http.get("/api/v1/status", headers=headers) for _ in range(30)]
        other = http.get("/login")
        health = [http.get("/healthz").status_code for _ in range(30)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert {answer.json()["code"] for answer in refused} == {"too_many_requests"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert other.status_code == 200
    assert set(health) == {200}


PAGES = ("/", "/workers", "/docs", "/login", "/studies/digits", "/trials/1", "/nothing")


@pytest.mark.parametrize("path", PAGES)
def test_pages_respect_their_content_security_policy(api: Any, path: str) -> None:
    api.submit(name="digits")
    api.report(api.claim()[0], 0, val_accuracy=0.5)

    page = api.http.get(path, headers=HTML)

    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert {"default-src 'self'", "base-uri 'none'", "form-action 'self'"} <= set(policy.split("; "))
    assert "<style" not in page.text
    assert not re.search(r"<script(?![^>]* src=)", page.text)
    assert not re.search(r"<[^>]* (style|on\w+)=", page.text)
    assert not re.search(r"(src|href|action)=\"(https?:|//|data:|javascript:)", page.text)


def test_a_file_of_a_trial_is_never_shown_as_a_page(api: Any) -> None:
    content = b"<script>alert(document.cookie)</script>"
    api.submit()
    lease = api.claim()[0]
    api.put_file(lease, "page.html", content, hashlib.sha256(content).hexdigest())

    headers = api.get(f"/trials/{lease['trial_id']}/artifacts/page.html", headers=HTML).headers

    assert headers["content-disposition"].startswith("attachment")
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"

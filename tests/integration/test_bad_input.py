"""Bad requests of every kind: the master names the problem and continues (I11)."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.conftest import Api

from tunefleet_master.app import create_app
from tunefleet_master.settings import Settings

JSON = {"Content-Type": "application/json"}
HERE = "@here@"

STORED_VALUES = (
    *('"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"', json.dumps("x" * 30_000), '{"\\u0000": 1}', '{"\\ud800": 1}'),
    *("NaN", "Infinity", "-Infinity", "1e999", str(2**31), str(2**53 + 1), str(2**63), "9" * 400),
)
"""JSON values on the wire that databases store differently, or not at all."""

OTHER_VALUES = ('""', '" "', '"../../etc/passwd"', "-1", "0", "1.5", "null", "true", "[]", "{}", '"x"', "[[[[1]]]]")
"""Values that no database sees differently; some are valid for some fields."""

DEEP_VALUES = ("[" * 200 + "]" * 200, '{"a":' * 400 + "1" + "}" * 400, "[" * 900 + "]" * 900)
"""Values that are too deep for a parser: one parser reads all fields of a body, so only its outer ones are tried."""

STUDY: dict[str, Any] = {
    "name": "bad",
    "objective": {"metric": "loss", "goal": "minimize", "value": "best"},
    "run": {"command": "python train.py --x={x}"},
    "data": {"subset": 1.0, "seed": 0, "split": {"train": 0.8}},
    "space": {
        "x": {"float": [0, 1], "when": "kind == 'a'"},
        "kind": ["a", "b"],
        "n": {"int": [1, 9]},
        "f": {"fixed": 1},
    },
    "constraints": ["x < 2"],
    "steps": 5,
    "search": {"sampler": "random", "seed": 1},
    "budget": {"trials": 40, "hours": 3},
    "resources": {"gpus": 0, "labels": ["a100"]},
    "priority": 0,
    "trial_timeout": "2h",
    "retry": {"lost": 1, "error": 1},
}
SEVERAL: dict[str, Any] = {
    **{key: STUDY[key] for key in ("run", "search", "budget")},
    "name": "bad",
    "objectives": [{"metric": "a", "goal": "maximize", "value": "last"}, {"metric": "b", "goal": "minimize"}],
    "outcomes": ["c <= 1 / (a - 1)"],
    "space": {"x": {"float": [0, 1]}},
}
FACTS = {"host": "h", "device": "d", "slots": 1, "labels": ["a"], "allow_code": True, "version": "1", "status": "s"}
WORKERS_CALLS: dict[str, dict[str, Any]] = {
    "/claims": {"worker": "w2", "slots": 1, "request_id": "r", "study": "good", "facts": FACTS},
    "/heartbeats": {"worker": "w1", "leases": [{"trial_id": 1, "attempt": 1}], "facts": FACTS},
    "/trials/{id}/reports": {"attempt": 1, "reports": [{"step": 1, "metrics": {"loss": 0.5}, "number": 1}]},
    "/trials/{id}/complete": {"attempt": 1, "metrics": {"loss": 0.5}},
    "/trials/{id}/fail": {"attempt": 1, "failure": "error", "message": "m", "exception": "e", "log_tail": "l"},
    "/trials/{id}/release": {"attempt": 1, "reason": "lost"},
}
USERS_CALLS: dict[str, dict[str, Any]] = {
    "/studies/good/trials": {"params": [{"lr": 0.5, "optimizer": "sgd"}]},
    "/studies/good/retry": {"failures": ["error"]},
}
BAD_TEXTS = (
    *("a%00b", "%ff", "%c0%af", "%ed%a0%80", "..%2f..", "%2e%2e", "..%5c..", "a" * 5_000, "%F0%9F%92%A9", "%0d%0aX: y"),
    *(
        "NaN",
        "-1",
        "1e9",
        str(2**31),
        str(2**40),
        str(2**63),
        str(2**70),
        "lr%00",
        "params.lr%00",
        "0001-01-01T00:00:00%2B14:00",
    ),
    *("9999-12-31T23:59:59-14:00", "-9999-01-01", "1;drop table trials", "'%20or%20''='", "*", "%", "%2"),
)
READING = (
    *("/studies?cursor={}", "/studies?limit={}", "/studies/{}", "/studies/{}/trials", "/studies/{}/events"),
    *("/studies/good/trials?sort={}", "/studies/good/trials?cursor={}", "/studies/good/trials?since={}"),
    *("/studies/good/trials?limit={}", "/studies/good/trials?state={}", "/studies/good/trials/{}", "/trials/{}"),
    *("/studies/{}/front", "/studies/good/front?cursor={}", "/studies/good/front?limit={}"),
    *("/trials/1?max_points={}", "/trials/1/artifacts/{}", "/bundles/{}", "/schema/{}", "/{}"),
)
PAGES = ("/?x={}", "/studies/{}", "/studies/good?sort={}", "/studies/good?page={}", "/trials/{}", "/static/{}", "/{}")


class SameThread(httpx.BaseTransport):
    """Sends requests to a master whose loop runs on this thread, which saves a thread switch for each of thousands."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self._asked = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._runner = runner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._runner.run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._asked.handle_async_request(request)
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        body = b"".join([part async for part in answer.stream])
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(body))


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    """A master in this thread, for one request at a time."""
    app = create_app(settings)
    lifespan = app.router.lifespan_context(app)
    with asyncio.Runner() as runner:
        runner.run(lifespan.__aenter__())
        with httpx.Client(
            transport=SameThread(app, runner), base_url="http://127.0.0.1", follow_redirects=True
        ) as http:
            yield Api(http)
        runner.run(lifespan.__aexit__(None, None, None))


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a body: every key, every element."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*place, key))


def changed(value: Any, place: tuple[Any, ...]) -> Any:
    """The body with a mark at this path, or next to the value there if the mark is a key."""
    if not place:
        return HERE
    if isinstance(value, list):
        return [changed(part, place[1:]) if i == place[0] else part for i, part in enumerate(value)]
    return {key: changed(part, place[1:]) if key == place[0] else part for key, part in value.items()}


def bad_bodies(good: dict[str, Any], *, database: str, within: Collection[str] | None = None) -> Iterator[bytes]:
    """The body with bad values at each path, and with a bad key in each object; of the fields `within`, or of all.

    On SQLite each path gets each value. On Postgres the values that the databases do not store alike are enough for
    that: of the others, each path gets a third, and each value comes at a third of the paths.
    """
    stride = 3 if database.startswith("postgresql") else 1
    for number, place in enumerate(places(good)):
        if within is not None and place and place[0] not in within:
            continue
        text = json.dumps(changed(good, place))
        deep = DEEP_VALUES if len(place) < 2 else ()
        for bad in (*STORED_VALUES, *deep, *OTHER_VALUES[number % stride :: stride]):
            yield text.replace(f'"{HERE}"', bad).encode()
            if bad.startswith('"') and place:
                yield text.replace(f'"{HERE}"', f"{{{bad}: 1}}").encode()


def assert_explained(answer: httpx.Response) -> None:
    """Assert that the request succeeded, or that a document names the reason; never an internal error."""
    assert answer.status_code < 500, (answer.request.url, answer.request.content[:300], answer.text[:300])
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", (answer.request.url, answer.text[:300])
        assert answer.request.method == "HEAD" or answer.json()["code"]


def send(api: Any, path: str, body: bytes, method: str = "POST") -> httpx.Response:
    answer: httpx.Response = api.http.request(method, f"/api/v1{path}", content=body, headers=JSON)
    assert_explained(answer)
    return answer


def assert_works(api: Any) -> None:
    """Assert that a new study, after all existing ones, is planned and leased."""
    api.submit(name="last", priority=-9)
    assert api.claim("last", wait_s=20.0, study="last")[0]["study"] == "last"


@pytest.mark.parametrize(
    ("study", "within"), [(STUDY, None), (SEVERAL, ("objectives", "outcomes"))], ids=["one objective", "several"]
)
def test_no_value_anywhere_in_a_study_breaks_the_master_or_another_study(
    api: Any, migrated_url: str, study: dict[str, Any], within: Collection[str] | None
) -> None:
    assert send(api, "/studies", json.dumps(study).encode()).status_code == 201
    for number, body in enumerate(bad_bodies(study, database=migrated_url, within=within)):
        send(api, "/studies", body.replace(b'"name": "bad"', b'"name": "bad-%d"' % number))
    assert_works(api)


def test_no_value_anywhere_in_a_workers_call_breaks_the_master(api: Any, migrated_url: str) -> None:
    api.submit(name="good", budget={"trials": 5_000})
    for path, good in WORKERS_CALLS.items():
        lease = api.claim(study="good")[0]
        for body in bad_bodies(good, database=migrated_url):
            answer = send(
                api,
                path.replace("{id}", str(lease["trial_id"])),
                body.replace(b'"attempt": 1', b'"attempt": %d' % lease["attempt"]),
            )
            if answer.is_success and "state" in answer.json():  # the attempt has ended; the next body needs another
                api.http.patch("/api/v1/studies/good", json={"state": "running"})
                lease = api.claim(study="good")[0]
    assert_works(api)


def test_no_value_anywhere_in_a_users_call_breaks_the_master(api: Any, migrated_url: str) -> None:
    api.submit(name="good", budget={"trials": 5_000})
    for path, good in USERS_CALLS.items():
        for body in bad_bodies(good, database=migrated_url):
            send(api, path, body)
    change = {"state": "paused", "budget": {"trials": 6_000, "hours": 5}, "priority": 3, "space": {"x": 1}}
    for body in bad_bodies(change, database=migrated_url):
        send(api, "/studies/good", body, "PATCH")
    assert_works(api)


def test_no_text_in_an_address_breaks_the_master(api: Any) -> None:
    api.submit(name="good")
    api.claim(study="good")
    for path in READING:
        for bad in BAD_TEXTS:
            assert_explained(api.http.get("/api/v1" + path.format(bad)))


def test_no_text_in_the_address_of_a_page_breaks_the_master(api: Any) -> None:
    api.submit(name="good")
    for path in PAGES:
        for bad in BAD_TEXTS:
            answer = api.http.get(path.format(bad), headers={"Accept": "text/html"})
            assert answer.status_code < 500, answer.request.url


def test_unstorable_text_of_a_crash_costs_no_result(api: Any) -> None:
    api.submit()
    lease = api.claim()[0]
    said = rb'"NUL \u0000 half \ud800 whole \ud83d\ude00"'
    body = b'{"attempt": 1, "failure": "error", "message": %s, "exception": %s, "log_tail": %s}' % (said, said, said)

    first = send(api, f"/trials/{lease['trial_id']}/fail", body)
    again = send(api, f"/trials/{lease['trial_id']}/fail", body)

    assert (first.status_code, again.json()) == (200, first.json())
    attempt = api.get(f"/trials/{lease['trial_id']}").json()["attempts"][0]
    kept = "NUL � half � whole 😀"
    assert (attempt["message"], attempt["log_tail"]) == (kept, kept)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/claims", rb'{"worker": "a\u0000b"}', "worker"),
        ("/claims", rb'{"worker": "w", "request_id": "a\u0000b"}', "request_id"),
        ("/claims", rb'{"worker": "w", "request_id": "\ud800"}', "request_id"),
        ("/studies/good/trials", rb'{"params": [{"lr": 0.1, "optimizer": "sgd\u0000"}]}', "params.0.optimizer"),
        ("/studies/good/trials", rb'{"params": [{"lr": NaN}]}', "params.0.lr"),
        ("/studies", rb'{"run": {"command": "train \u0000"}}', "run.command"),
        ("/studies", rb'{"space": {"x": [1, NaN]}}', "space.x.1"),
        ("/studies", rb'{"space": {"x": {"fixed": "\udc00"}}}', "space.x.fixed"),
    ],
)
def test_unstorable_text_is_refused_with_its_field(api: Any, path: str, body: bytes, field: str) -> None:
    api.submit(name="good")

    answer = send(api, path, body)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_range_of_integers_too_large_to_list_is_valid(api: Any) -> None:
    study = api.study_of(run={"function": "train:train"}, space={"n": {"int": [0, 2**53]}})

    assert api.post("/studies", study).status_code == 201
    assert len(api.claim(facts={"allow_code": True})) == 1


@pytest.mark.parametrize("asked", ["bytes=abc", "bytes=5-2", "items=1-2", "bytes=", "bytes=5000-6000", "bytes=--1"])
def test_an_invalid_byte_range_is_refused_with_a_document(api: Any, asked: str) -> None:
    content = b"x" * 1_000
    path = f"/api/v1/bundles/{hashlib.sha256(content).hexdigest()}"
    api.http.put(path, content=content)

    answer = api.http.get(path, headers={"Range": asked})

    assert answer.status_code in (400, 416)
    assert_explained(answer)
    assert answer.status_code == 400 or answer.headers["content-range"] == "bytes */1000"


OUTSIDE = (
    "../escaped",
    "..%2f..%2fescaped",
    "%2e%2e/escaped",
    "..",
    "%2e%2e",
    "a%2f..%2fb",
    "..%5cescaped",
    "a%00b",
    "/x",
)


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/v1/bundles/{}"),
        ("GET", "/api/v1/bundles/{}"),
        ("GET", "/api/v1/studies/{}"),
        ("DELETE", "/api/v1/studies/{}"),
        ("GET", "/api/v1/trials/1/artifacts/{}"),
        ("PUT", "/api/v1/trials/1/artifacts/{}?attempt=1&sha256=" + "0" * 64),
        ("GET", "/static/{}"),
        ("GET", "/studies/{}"),
    ],
)
def test_a_name_never_leads_out_of_its_folder(live: Any, method: str, path: str, name: str) -> None:
    # A client library would tidy the path; this sends it as it is.
    connection = http.client.HTTPConnection(urlsplit(str(live.http.base_url)).netloc)
    connection.request(method, path.format(name), body=b"content" if method == "PUT" else None)

    answer = connection.getresponse()

    assert answer.status in (307, 400, 404, 405, 422)
    assert b"root:" not in answer.read()
    connection.close()

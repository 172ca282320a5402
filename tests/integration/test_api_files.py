from __future__ import annotations

import hashlib
import http.client
from urllib.parse import urlsplit

import pytest

CONTENT = bytes(range(256)) * 1_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def lease(api):
    api.submit()
    return api.claim()[0]


def stored(settings):
    return [path for path in (settings.data / "artifacts").rglob("*") if path.is_file()]


def test_a_file_comes_back_as_it_was_sent(api, lease) -> None:
    answer = api.put_file(lease, "model.safetensors", CONTENT, SHA256)
    fetched = api.get(f"/trials/{lease['trial_id']}/artifacts/model.safetensors")

    assert answer.status_code == 201
    assert (answer.json()["sha256"], answer.json()["size_bytes"]) == (SHA256, len(CONTENT))
    assert fetched.content == CONTENT
    assert fetched.headers["content-disposition"] == 'attachment; filename="model.safetensors"'
    assert fetched.headers["x-content-type-options"] == "nosniff"
    assert fetched.headers["etag"] == f'"{SHA256}"'
    assert api.get(f"/trials/{lease['trial_id']}").json()["artifacts"] == [answer.json()]


def test_a_part_of_a_file_can_be_fetched(api, lease) -> None:
    api.put_file(lease, "model", CONTENT, SHA256)

    part = api.get(f"/trials/{lease['trial_id']}/artifacts/model", headers={"Range": "bytes=10-19"})

    assert (part.status_code, part.content) == (206, CONTENT[10:20])


def test_a_file_is_sent_in_parts(api, lease) -> None:
    total = len(CONTENT)
    path = f"/api/v1/trials/{lease['trial_id']}/artifacts/model"
    query = {"attempt": lease["attempt"], "sha256": SHA256}
    first = api.put_file(lease, "model", CONTENT[:1_000], SHA256, **{"Content-Range": f"bytes 0-999/{total}"})
    held = api.http.head(path, params=query).headers["upload-offset"]
    wrong = api.put_file(lease, "model", CONTENT[500:], SHA256, **{"Content-Range": f"bytes 500-{total - 1}/{total}"})

    last = api.put_file(lease, "model", CONTENT[1_000:], SHA256, **{"Content-Range": f"bytes 1000-{total - 1}/{total}"})

    assert (first.status_code, held) == (202, "1000")
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["offset"]) == (409, "upload_offset", 1_000)
    assert last.status_code == 201
    assert api.get(f"/trials/{lease['trial_id']}/artifacts/model").content == CONTENT


def test_content_with_another_hash_leaves_nothing(api, lease, settings) -> None:
    answer = api.put_file(lease, "model", CONTENT + b"!", SHA256)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "sha256")
    assert stored(settings) == []


def test_a_body_that_ends_before_its_range_does_is_refused(api, lease, settings) -> None:
    answer = api.put_file(lease, "model", b"short", SHA256, **{"Content-Range": "bytes 0-99/100"})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Content-Range")
    assert stored(settings) == []


def test_a_file_over_the_limit_leaves_nothing(api, lease, settings) -> None:
    def endless():
        for _ in range(40):
            yield b"x" * 100_000

    declared = api.put_file(lease, "model", b"x" * 3_000_001, SHA256)
    chunked = api.put_file(lease, "model", endless(), SHA256)

    assert (declared.status_code, chunked.status_code) == (413, 413)
    assert chunked.json()["code"] == "too_large"
    assert stored(settings) == []


def test_the_same_name_again_is_replaced(api, lease) -> None:
    api.put_file(lease, "model", CONTENT, SHA256)
    newer = b"newer"

    api.put_file(lease, "model", newer, hashlib.sha256(newer).hexdigest())

    assert api.get(f"/trials/{lease['trial_id']}/artifacts/model").content == newer


def test_a_missing_file_is_not_found(api, lease) -> None:
    answer = api.get(f"/trials/{lease['trial_id']}/artifacts/nothing")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_bundle_comes_back_as_it_was_sent(api) -> None:
    path = f"/api/v1/bundles/{SHA256}"

    assert [api.http.put(path, content=CONTENT).status_code for _ in range(2)] == [201, 200]
    assert api.http.get(path).content == CONTENT
    assert api.http.get(f"/api/v1/bundles/{'0' * 64}").status_code == 404


@pytest.mark.parametrize(
    "name", ["..%2f..%2fescaped", "%2e%2e%2fescaped", "..", "%2e%2e", "a%2fb", "..%5cescaped", ".hidden", "a%00b"]
)
def test_a_name_that_leaves_its_folder_is_refused_and_writes_nothing(live, name) -> None:
    live.http.delete("/api/v1/studies/names")
    live.post("/studies", live.study_of(name="names"))
    lease = live.claim(f"worker-{name.encode().hex()}")[0]
    # A client library would tidy the path; this sends it as it is.
    connection = http.client.HTTPConnection(urlsplit(str(live.http.base_url)).netloc)
    connection.request(
        "PUT", f"/api/v1/trials/{lease['trial_id']}/artifacts/{name}?attempt=1&sha256={SHA256}", body=CONTENT
    )

    answer = connection.getresponse()

    assert answer.status in (404, 422)
    assert answer.getheader("content-type") == "application/problem+json"
    connection.close()
    live.post(f"/trials/{lease['trial_id']}/release", {"attempt": lease["attempt"]})
    assert live.get(f"/trials/{lease['trial_id']}").json()["artifacts"] == []

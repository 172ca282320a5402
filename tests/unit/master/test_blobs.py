from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tunefleet.errors import Conflict, InvalidInput, NotFound, StorageUnusable, UploadOffset
from tunefleet_master.storage.blobs import CHUNK_BYTES, BlobStore

CONTENT = b"weights" * 1_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_content_is_there_when_it_is_published_and_not_before(store: BlobStore) -> None:
    upload = store.begin("1-1")
    upload.write(CONTENT)
    upload.seal(SHA256)
    with pytest.raises(NotFound):
        store.open(SHA256)

    upload.publish()

    with store.open(SHA256) as file:
        assert file.read() == CONTENT
    assert store.path(SHA256).parent.name == SHA256[:2]
    assert store.stat(SHA256).st_size == len(CONTENT)


def test_publishing_twice_changes_nothing(store: BlobStore) -> None:
    upload = store.begin("1-1")
    upload.write(CONTENT)
    upload.seal(SHA256)

    upload.publish()
    upload.publish()

    assert store.path(SHA256).read_bytes() == CONTENT


def test_a_broken_upload_resumes_where_it_stopped(store: BlobStore) -> None:
    first = store.begin("1-1")
    first.write(CONTENT[:100])
    first.close()

    assert store.partial_bytes("1-1") == 100
    second = store.begin("1-1", offset=100)
    second.write(CONTENT[100:])
    second.seal(SHA256)
    second.publish()

    assert store.path(SHA256).read_bytes() == CONTENT


def test_a_wrong_offset_is_refused_with_the_right_one(store: BlobStore) -> None:
    upload = store.begin("1-1")
    upload.write(CONTENT[:100])
    upload.close()

    with pytest.raises(UploadOffset) as error:
        store.begin("1-1", offset=50)

    assert error.value.offset == 100


def test_content_with_another_hash_is_refused_and_removed(store: BlobStore, tmp_path: Path) -> None:
    upload = store.begin("1-1")
    upload.write(b"something else")

    with pytest.raises(InvalidInput, match="send the file again"):
        upload.seal(SHA256)

    assert files_in(tmp_path) == []


def test_a_newer_stream_takes_over_the_upload(store: BlobStore) -> None:
    old = store.begin("1-1")
    old.write(CONTENT[:100])
    new = store.begin("1-1")

    with pytest.raises(Conflict):
        old.write(CONTENT[100:])
    new.write(CONTENT)
    new.seal(SHA256)
    new.publish()

    assert store.path(SHA256).read_bytes() == CONTENT


def test_a_newer_stream_cannot_change_sealed_content(store: BlobStore) -> None:
    old = store.begin("1-1")
    old.write(CONTENT)
    old.seal(SHA256)

    newer = store.begin("1-1")
    newer.write(b"half of someth")
    old.publish()
    newer.close()

    assert store.path(SHA256).read_bytes() == CONTENT


def test_an_unpublished_sealed_upload_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    upload = store.begin("1-1")
    upload.write(CONTENT)
    upload.seal(SHA256)

    upload.close()

    assert files_in(tmp_path) == []


def test_a_full_disk_is_named_and_leaves_no_partial_file(store: BlobStore, tmp_path: Path) -> None:
    partial = tmp_path / "blobs" / "partial" / "1-1"
    partial.symlink_to("/dev/full")
    upload = store.begin("1-1")

    with pytest.raises(StorageUnusable, match="the disk is full") as error:
        upload.write(CONTENT)

    assert str(partial) in error.value.message
    assert error.value.hint
    assert not partial.is_symlink()


def test_stale_uploads_are_removed_and_fresh_ones_are_not(store: BlobStore, tmp_path: Path) -> None:
    for key in ("old", "new"):
        store.begin(key).close()
    two_days_ago = time.time() - 2 * 86_400
    os.utime(tmp_path / "blobs" / "partial" / "old", (two_days_ago, two_days_ago))

    assert store.remove_stale_partials() == 1

    assert [path.name for path in files_in(tmp_path)] == ["new"]


def test_deleted_content_is_gone_and_deleting_it_again_is_harmless(store: BlobStore) -> None:
    upload = store.begin("1-1")
    upload.write(CONTENT)
    upload.seal(SHA256)
    upload.publish()

    store.delete(SHA256)
    store.delete(SHA256)

    with pytest.raises(NotFound):
        store.stat(SHA256)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "ABC", SHA256[:-1], SHA256 + "0", f"../{SHA256}"])
def test_an_invalid_hash_is_refused(store: BlobStore, name: str) -> None:
    with pytest.raises(InvalidInput):
        store.path(name)


@pytest.mark.parametrize("key", ["../x", "a/b", "", ".", "x" * 300])
def test_an_invalid_key_is_refused(store: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="not an upload key"):
        store.begin(key)


def test_bytes_received_before_the_connection_broke_are_stored(store: BlobStore) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * CHUNK_BYTES
        yield b"y" * 10
        raise ConnectionError

    async def send() -> None:
        upload = store.begin("1-1")
        try:
            await upload.receive(breaking())
        finally:
            upload.close()

    with pytest.raises(ConnectionError):
        asyncio.run(send())

    assert store.partial_bytes("1-1") == CHUNK_BYTES + 10

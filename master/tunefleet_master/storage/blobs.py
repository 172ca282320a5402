"""Files addressed by the hash of their content. A file becomes visible once it is complete, checked and on the disk.

folder/ab/cdef…       the content whose sha256 is abcdef…
folder/partial/KEY    the bytes of an unfinished upload, which can resume after a broken connection
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tunefleet.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    Problem,
    StorageUnusable,
    UploadOffset,
)
from tunefleet.names import HASH_PATTERN

CHUNK_BYTES = 1 << 20  # one switch to a thread per MiB: switching then costs less than 1 % of hashing
PARTIAL_AGE_S = 86_400.0  # a client that has been away for a day has abandoned its upload

_KEY = re.compile(r"[0-9a-z][0-9a-z\-]{0,199}")
_HASH = re.compile(HASH_PATTERN)


class BlobStore:
    """A content-addressed folder. Its methods block, and are safe to call from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._partials = folder / "partial"
        self._uploads: dict[str, Upload] = {}
        self._guard = threading.RLock()
        with _explained(folder):
            self._partials.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """The path of the content with this hash, stored or not."""
        if _HASH.fullmatch(sha256) is None:
            raise InvalidInput(
                [
                    Problem(
                        "sha256",
                        "a sha256 has 64 hexadecimal digits in lower case",
                        sha256[:80],
                    )
                ]
            )
        return self._folder / sha256[:2] / sha256[2:]

    def stat(self, sha256: str) -> os.stat_result:
        """The file status of a stored content.

        Raises:
            NotFound: no content has this hash.
        """
        try:
            return self.path(sha256).stat()
        except FileNotFoundError as error:
            raise NotFound(f"no content with the sha256 {sha256} is stored") from error

    def open(self, sha256: str) -> BinaryIO:
        """Open the content for reading.

        Raises:
            NotFound: no content has this hash.
        """
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"no content with the sha256 {sha256} is stored") from error

    def delete(self, sha256: str) -> None:
        """Delete the content; do nothing if it does not exist."""
        self.path(sha256).unlink(missing_ok=True)

    def partial_bytes(self, key: str) -> int:
        """The number of received bytes of an unfinished upload."""
        try:
            return self._partial(key).stat().st_size
        except FileNotFoundError:
            return 0

    def begin(self, key: str, *, offset: int = 0) -> Upload:
        """Start an upload, or resume the one with this key. An earlier stream on the key is cut off.

        Raises:
            UploadOffset: `offset` is neither 0 nor the number of received bytes.
            StorageUnusable: the disk is full or fails.
        """
        with self._guard:
            if key in self._uploads:
                self._uploads[key].cut()
            received = self.partial_bytes(key)
            if offset not in (0, received):
                raise UploadOffset(f"the upload continues at byte {received}, not at {offset}", offset=received)
            upload = Upload(self, self._partial(key), offset=offset)
            self._uploads[key] = upload
            return upload

    def remove_stale_partials(self, older_than_s: float = PARTIAL_AGE_S) -> int:
        """Delete uploads that have received nothing for `older_than_s`; return their number."""
        stale = [path for path in self._partials.iterdir() if path.stat().st_mtime < time.time() - older_than_s]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    def _partial(self, key: str) -> Path:
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"not an upload key: {key!r}")
        return self._partials / key

    def _forget(self, upload: Upload) -> None:
        with self._guard:
            for key in [key for key, other in self._uploads.items() if other is upload]:
                del self._uploads[key]


class Upload:
    """One stream of bytes into one partial file: `write`, then `seal`, then `publish`."""

    def __init__(self, store: BlobStore, path: Path, *, offset: int) -> None:
        self.size_bytes = offset
        self._store = store
        self._path = path
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._sealed: str | None = None
        with _explained(path):
            self._file = path.open("r+b" if offset else "wb", buffering=0)
            while chunk := self._file.read(CHUNK_BYTES) if offset else b"":
                self._hash.update(chunk)

    async def receive(self, chunks: AsyncIterable[bytes]) -> None:
        """Write all chunks outside the event loop; chunks before an error stay, so that the upload can resume."""
        gathered = bytearray()
        try:
            async for chunk in chunks:
                gathered += chunk
                if len(gathered) >= CHUNK_BYTES:
                    data, gathered = bytes(gathered), bytearray()
                    await asyncio.to_thread(self.write, data)
        finally:
            if gathered:
                await asyncio.to_thread(self.write, bytes(gathered))

    def write(self, data: bytes) -> None:
        """Append data.

        Raises:
            Conflict: another stream has taken over the upload.
            StorageUnusable: the disk is full or fails; the partial file is deleted.
        """
        with self._lock:
            if self._file.closed:
                raise Conflict("another request has taken over this upload")
            try:
                with _explained(self._path):
                    _write_all(self._file, data)
            except StorageUnusable:
                self._drop()
                raise
            self._hash.update(data)
            self.size_bytes += len(data)

    def seal(self, sha256: str) -> None:
        """Check the content's hash, sync it to the disk, and rename it so that no other stream can write to it.

        Raises:
            InvalidInput: the hash differs; the partial file is deleted.
            Conflict: another stream has taken over the upload.
        """
        with self._lock:
            if self._file.closed:
                raise Conflict("another request has taken over this upload")
            if self._hash.hexdigest() != sha256:
                self._drop()
                rule = f"the received content has the sha256 {self._hash.hexdigest()}; send the file again"
                raise InvalidInput([Problem("sha256", rule, sha256)])
            with _explained(self._path):
                os.fsync(self._file.fileno())
            self._file.close()
            self._path = self._path.replace(self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}"))
            self._sealed = sha256

    def publish(self) -> None:
        """Move the sealed content to its place in the store; safe to call twice."""
        if self._sealed is None:
            raise RuntimeError("an upload must be sealed before it is published")
        target = self._store.path(self._sealed)
        with _explained(target):
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):
                self._path.replace(target)
            _sync_folder(target.parent)
            target.stat()

    def cut(self) -> None:
        """Refuse further writes; a sealed upload can still be published."""
        with self._lock:
            self._file.close()

    def close(self) -> None:
        """End the stream. An unsealed upload can resume later; a sealed one that is not published is deleted."""
        with self._lock:
            self._file.close()
            if self._sealed is not None:
                self._path.unlink(missing_ok=True)
        self._store._forget(self)

    def discard(self) -> None:
        """End the stream and delete the received bytes."""
        with self._lock:
            self._drop()
        self._store._forget(self)

    def _drop(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def _write_all(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageUnusable(
            f"cannot write {path}: {'the disk is full' if is_full else error.strerror}.",
            hint="Free some space, or move the data folder to a larger disk (--data)."
            if is_full
            else "Check the disk, and the owner and permissions of the folder.",
        ) from error

"""A cache of users' code bundles: downloaded once by their hash, unpacked safely, reused by later trials."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from tunefleet_worker.unpacking import BrokenBundle, unpack


class BundleCache:
    """Unpacked bundles in a folder, each under its hash.

    Args:
        folder: the cache's folder.
        download: downloads the bundle with a hash to a file.
    """

    def __init__(self, folder: Path, download: Callable[[str, Path], object]) -> None:
        self._folder = folder
        self._download = download

    def folder_of(self, sha256: str) -> Path:
        """Return the folder of the unpacked bundle; safe for several threads and agents at once.

        Raises:
            BrokenBundle, TooLarge: the bundle cannot be unpacked.
        """
        unpacked = self._folder / sha256
        if unpacked.is_dir():
            return unpacked
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as name:
            draft = Path(name)
            packed = draft / "bundle"
            self._download(sha256, packed)
            _check_hash(packed, sha256)
            unpack(packed, draft / "code")
            try:
                (draft / "code").rename(unpacked)
            except OSError:
                if not unpacked.is_dir():  # another thread has unpacked the same bundle; anything else is an error
                    raise
        return unpacked


def _check_hash(packed: Path, sha256: str) -> None:
    with packed.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise BrokenBundle(f"the code bundle {sha256[:12]}… arrived with another hash ({found[:12]}…).")

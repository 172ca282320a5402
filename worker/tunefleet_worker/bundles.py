"""The code that users send along: fetched once by its hash, unpacked safely, kept for the next trial."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tunefleet.errors import TooLarge, TunefleetError

MAX_FILES = 20_000  # far above any folder of code, far below what fills a file system
MAX_UNPACKED_BYTES = 500_000_000  # ten times the largest bundle: code packs to a third or a fifth


class BrokenBundle(TunefleetError):
    """A bundle has another hash than its name, or holds what does not belong into a folder of code."""

    code = "broken_bundle"


class BundleCache:
    """Unpacked bundles in a folder, each under its hash.

    Args:
        folder: of the cache.
        download: fetches the bundle of a hash into a file.
    """

    def __init__(self, folder: Path, download: Callable[[str, Path], object]) -> None:
        self._folder = folder
        self._download = download

    def folder_of(self, sha256: str) -> Path:
        """The unpacked bundle; several threads and agents may ask at once.

        Raises:
            BrokenBundle, TooLarge: what the master sent cannot be unpacked.
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
                if not unpacked.is_dir():  # another thread may have been first; anything else is an error
                    raise
        return unpacked


def unpack(packed: Path, to: Path) -> None:
    """Unpack a bundle into a new folder; on an error nothing of it stays.

    Raises:
        BrokenBundle: it is no archive, or a member would leave the folder, or is neither a file nor a folder.
        TooLarge: it unpacks to more than MAX_FILES or MAX_UNPACKED_BYTES.
    """
    to.mkdir()
    try:
        with tarfile.open(packed) as archive:
            archive.extractall(to, members=_bounded(archive), filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(to, ignore_errors=True)
        raise BrokenBundle(f"the study's code bundle cannot be unpacked: {error}.") from error
    except TooLarge:
        shutil.rmtree(to, ignore_errors=True)
        raise


def _bounded(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members, as long as they keep to the limits; the filter `data` refuses paths and links that lead out."""
    total = 0
    for count, member in enumerate(archive):
        total += member.size
        if count >= MAX_FILES or total > MAX_UNPACKED_BYTES:
            limit = f"{MAX_FILES} files or {MAX_UNPACKED_BYTES // 1_000_000} MB"
            raise TooLarge(f"the study's code bundle unpacks to more than {limit}.")
        yield member


def _check_hash(packed: Path, sha256: str) -> None:
    with packed.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise BrokenBundle(f"the code bundle {sha256[:12]}… arrived with another hash ({found[:12]}…).")

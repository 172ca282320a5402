"""Safe unpacking of an untrusted archive: its sizes, names and links are all checked."""

from __future__ import annotations

import gzip
import posixpath
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tunefleet.client.bundle import MAX_DEPTH, MAX_FILES, MAX_NAME, max_unpacked_bytes
from tunefleet.errors import TooLarge, TunefleetError

MAX_READ_BYTES = 1_000_000  # tarfile reads files in small pieces, but a header of any length at once
HEADER_BYTES = 3_000  # bytes of one header, with a long name


class BrokenBundle(TunefleetError):
    """A bundle does not match its hash, or has a member that is not allowed in a code folder."""

    code = "broken_bundle"


def unpack(packed: Path, to: Path) -> None:
    """Unpack a bundle into a new folder; delete the folder on an error.

    Raises:
        BrokenBundle: it is not an archive, or a member leaves the folder, or is not a file, a folder or a link.
        TooLarge: it unpacks to more files or bytes than a bundle may.
    """
    to.mkdir()
    limit = max_unpacked_bytes(packed.stat().st_size)
    try:
        with (
            gzip.open(packed) as content,
            tarfile.open(fileobj=_Bounded(content, limit), mode="r:") as archive,  # type: ignore[call-overload]
        ):
            archive.extractall(to, members=list(_accepted(archive, limit)), filter="data")
    except Exception as error:
        shutil.rmtree(to, ignore_errors=True)
        if isinstance(error, TunefleetError):
            raise
        # The parser of tarfile raises many types: ValueError, RecursionError, zlib.error, ...
        raise _broken(error) from error


class _Bounded:
    """The unpacked stream, bounded in its length and in the size of one read."""

    def __init__(self, content: gzip.GzipFile, limit: int) -> None:
        self._content = content
        self._end = limit + MAX_FILES * HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise _broken(f"a header asks for {size} bytes")
        self._check(self.tell() + size)
        return self._content.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self._content.seek(position)

    def tell(self) -> int:
        return self._content.tell()

    def _check(self, position: int) -> None:
        if position > self._end:
            raise _too_large(self._end)


def _accepted(archive: tarfile.TarFile, limit: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members while they respect the limits and the folder; the caller checks all before it unpacks one."""
    total = 0
    seen: dict[PurePosixPath, bool] = {}
    for member in archive:
        name = PurePosixPath(posixpath.normpath(member.name))
        total += max(0, member.size)
        if len(seen) >= MAX_FILES or total > limit:
            raise _too_large(limit)
        if not _is_plain(member) or not _is_inside(name, member.name):
            raise _broken(f"{member.name[:100]!r} is not allowed in a folder of code")
        if name in seen or any(seen.get(parent, False) for parent in name.parents):
            raise _broken(f"{member.name[:100]!r} occurs twice, or is inside a link")
        if member.issym() and not _stays_inside(name, member.linkname):
            raise _broken(f"the link {member.name[:100]!r} leads out of the folder")
        seen[name] = member.issym()
        yield member


def _is_plain(member: tarfile.TarInfo) -> bool:
    return (member.isreg() and not member.issparse()) or member.isdir() or member.issym()


def _is_inside(name: PurePosixPath, as_written: str) -> bool:
    is_short = len(as_written) <= MAX_NAME and len(name.parts) <= MAX_DEPTH
    return is_short and not name.is_absolute() and ".." not in PurePosixPath(as_written).parts


def _stays_inside(name: PurePosixPath, target: str) -> bool:
    """Return True if a link's target is inside the folder, judged by its text.

    No member is inside a link, so leading `..` parts lead to real parent folders.
    """
    joined = posixpath.normpath(posixpath.join(name.parent, target))
    is_plain = posixpath.normpath(target) == target and len(target) <= MAX_NAME and not target.startswith("/")
    return is_plain and joined != ".." and not joined.startswith("../")


def _broken(reason: object) -> BrokenBundle:
    return BrokenBundle(f"the study's code bundle cannot be unpacked: {reason}.")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the study's code bundle exceeds a limit when unpacked: {MAX_FILES:,} files, {limit / 1e6:.0f} MB."
    )

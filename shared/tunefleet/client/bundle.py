"""Reproducible archives of code: equal folders give equal bytes."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from pathspec import GitIgnoreSpec

from tunefleet.errors import InvalidInput, Problem, TooLarge
from tunefleet.model import shown

MAX_BUNDLE_BYTES = 50_000_000
MAX_FILES = 20_000  # more than any folder of code has, and too few to exhaust a file system's inodes
MAX_UNPACKED_BYTES = 500_000_000  # ten times the largest bundle: code compresses to a third or a fifth
MAX_RATIO = 200  # unpacked bytes per packed byte; only decompression bombs exceed it
ALWAYS_UNPACKED_BYTES = 20_000_000  # up to this size, MAX_RATIO does not apply
MAX_DEPTH = 50  # nested folders
MAX_NAME = 1_000  # characters of a path relative to the folder
ALWAYS_LEFT_OUT = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "__pycache__",
        "node_modules",
        ".tunefleet",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
    }
)
_N_LARGEST = 5


@dataclass(frozen=True, slots=True)
class Bundle:
    """A packed folder; `with pack(folder) as bundle:` removes the archive at the end of the block.

    Attributes:
        path: the archive, a temporary file.
        sha256: the archive's hash, which identifies the bundle.
        files: paths of the packed files, relative to the folder.
        size_bytes: the archive's size.
    """

    path: Path
    sha256: str
    files: tuple[str, ...]
    size_bytes: int

    def __enter__(self) -> Self:
        """Return the bundle."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the archive."""
        self.path.unlink(missing_ok=True)


def max_unpacked_bytes(packed_bytes: int) -> int:
    """Return the number of bytes that a bundle of this size may unpack to."""
    return min(MAX_UNPACKED_BYTES, max(ALWAYS_UNPACKED_BYTES, MAX_RATIO * packed_bytes))


class _CountingWriter:
    """A writer that hashes and counts its bytes, and raises TooLarge above MAX_BUNDLE_BYTES."""

    def __init__(self, out: BinaryIO, files: list[Path]) -> None:
        self._out = out
        self._files = files
        self.hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size_bytes += len(data)
        if self.size_bytes > MAX_BUNDLE_BYTES:
            raise _too_large(self._files)
        return self._out.write(data)

    def flush(self) -> None:
        self._out.flush()


def pack(folder: Path) -> Bundle:
    """Pack a folder into a tar.gz with sorted entries, and without times and owners.

    The archive leaves out what the folder's .gitignore files exclude, by git's rules. It always leaves out version
    control, virtual environments and caches. Links within the folder become relative links.

    Raises:
        InvalidInput: the folder does not exist or holds no files, a link leads outside, or a path is too long.
        TooLarge: the archive exceeds 50 MB, or unpacks to more than a worker accepts; the message names the largest
            files.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise InvalidInput([Problem("run.code", "there is no such folder", str(folder))])
    files = sorted(_walk(root, root, []), key=lambda file: file.relative_to(root).as_posix())
    if not files:
        raise InvalidInput(
            [Problem("run.code", "the folder holds no files, or .gitignore excludes all of them", str(folder))]
        )
    if len(files) > MAX_FILES:
        raise TooLarge(f"{root} holds {len(files):,} files; a bundle has at most {MAX_FILES:,}.", hint=_LEAVE_OUT)
    _refuse_long_paths(root, files)
    handle, name = tempfile.mkstemp(prefix="tunefleet-", suffix=".tar.gz")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            writer = _CountingWriter(out, files)
            _write(root, files, writer)
        _refuse_large_content(files, writer.size_bytes)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    names = tuple(file.relative_to(root).as_posix() for file in files)
    return Bundle(path, writer.hash.hexdigest(), names, writer.size_bytes)


def _refuse_long_paths(root: Path, files: list[Path]) -> None:
    for file in files:
        path = file.relative_to(root)
        if len(path.as_posix()) > MAX_NAME or len(path.parts) > MAX_DEPTH:
            rule = f"a path in a bundle has at most {MAX_NAME:,} characters and {MAX_DEPTH} folders"
            raise InvalidInput([Problem("run.code", rule, shown(path.as_posix()))], hint=_LEAVE_OUT)


def _refuse_large_content(files: list[Path], packed_bytes: int) -> None:
    unpacked_bytes = sum(file.lstat().st_size for file in files)
    limit = max_unpacked_bytes(packed_bytes)
    if unpacked_bytes > limit:
        sizes = (
            f"The code unpacks to {unpacked_bytes / 1e6:.0f} MB; at its packed size, workers accept at most "
            f"{limit / 1e6:.0f} MB."
        )
        raise TooLarge(f"{sizes} {_largest(files)}", hint=_LEAVE_OUT)


def _walk(folder: Path, root: Path, specs: list[tuple[Path, GitIgnoreSpec]]) -> Iterator[Path]:
    """Yield the files and links under the folder that belong in the bundle; `specs` are its parents' .gitignores."""
    ignore_file = folder / ".gitignore"
    if ignore_file.is_file():
        specs = [*specs, (folder, GitIgnoreSpec.from_lines(ignore_file.read_text(errors="replace").splitlines()))]
    for entry in sorted(folder.iterdir()):
        if entry.name in ALWAYS_LEFT_OUT or _is_ignored(entry, specs):
            continue
        if entry.is_symlink():
            if _stays_inside(entry, root):
                yield entry
        elif entry.is_dir():
            yield from _walk(entry, root, specs)
        elif entry.is_file():
            yield entry


def _is_ignored(entry: Path, specs: list[tuple[Path, GitIgnoreSpec]]) -> bool:
    """Return the verdict of the nearest .gitignore with a matching rule."""
    slash = "/" if entry.is_dir() and not entry.is_symlink() else ""
    verdicts = (spec.check_file(entry.relative_to(base).as_posix() + slash).include for base, spec in reversed(specs))
    return next((verdict for verdict in verdicts if verdict is not None), False)


def _stays_inside(link: Path, root: Path) -> bool:
    """Return True for a link to a file in the folder, and False for a broken link.

    Raises:
        InvalidInput: the target is outside the folder.
    """
    try:
        target = link.resolve()
    except (OSError, RuntimeError):  # a link to itself
        return False
    if not target.is_relative_to(root):
        rule = f"the link leads out of the folder, to {target}; copy what it points to, or put the link into .gitignore"
        raise InvalidInput([Problem("run.code", rule, link.relative_to(root).as_posix())])
    return target.exists()


def _write(root: Path, files: list[Path], out: _CountingWriter) -> None:
    # mtime=0 and no name, so that equal files give equal hashes.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for file in files:
            _add_file(tar, file, root)


def _add_file(tar: tarfile.TarFile, file: Path, root: Path) -> None:
    member = tarfile.TarInfo(file.relative_to(root).as_posix())
    member.mode = 0o644
    if file.is_symlink():
        member.type = tarfile.SYMTYPE
        member.linkname = Path(os.path.relpath(file.resolve(), file.parent)).as_posix()
        tar.addfile(member)
        return
    with file.open("rb") as content:
        status = os.fstat(content.fileno())
        member.size = status.st_size
        member.mode = 0o755 if status.st_mode & 0o100 else 0o644
        tar.addfile(member, content)


_LEAVE_OUT = (
    "List files that the workers do not need in a .gitignore file in the folder, or set `code` to a smaller folder."
)


def _largest(files: list[Path]) -> str:
    sizes = sorted(((file.stat().st_size, file) for file in files if file.is_file()), reverse=True)[:_N_LARGEST]
    largest = ", ".join(f"{file} ({size_bytes / 1e6:.1f} MB)" for size_bytes, file in sizes)
    return f"The largest files: {largest}."


def _too_large(files: list[Path]) -> TooLarge:
    return TooLarge(f"The packed code exceeds {MAX_BUNDLE_BYTES / 1e6:.0f} MB. {_largest(files)}", hint=_LEAVE_OUT)

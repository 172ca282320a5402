"""Code bundles of studies."""

from __future__ import annotations

from tunefleet.errors import NotFound
from tunefleet_master.storage import artifacts
from tunefleet_master.storage.unit_of_work import UnitOfWork


def attach(uow: UnitOfWork, sha256: str, size_bytes: int) -> bool:
    """Record a bundle with its content in the blob store; return whether it is new."""
    is_new = not artifacts.has_blob(uow.connection, sha256)
    artifacts.note_blob(uow.connection, sha256, size_bytes=size_bytes, now=uow.now)
    return is_new


def check(uow: UnitOfWork, sha256: str) -> None:
    """Raise NotFound unless the bundle was uploaded."""
    if not artifacts.has_blob(uow.connection, sha256):
        raise NotFound(f"there is no code bundle {sha256[:12]}….")

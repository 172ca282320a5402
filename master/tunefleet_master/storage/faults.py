"""The meaning of a database error: whether to retry, and what to tell the operator of the master."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from sqlalchemy.exc import DBAPIError, IntegrityError

from tunefleet.errors import StorageUnusable


class Fault(Enum):
    """The cause of an error, which decides what to do about it."""

    OWN = "own"
    """The request: the same statement would fail again."""
    CONFLICT = "conflict"
    """Another transaction interfered; a retry may well succeed."""
    UNREACHABLE = "unreachable"
    """The database: it is down, starting, or locked by another program, whatever the request."""


# Classes and codes from appendix A of the Postgres manual.
_UNREACHABLE_CLASSES = ("08", "53", "57P", "58")
_CONFLICTS = ("40001", "40P01", "55P03", "25P03")

_SQLITE_HINTS = (
    ("full", "the disk of the database is full.", "Free some space; the master continues by itself."),
    ("malformed", "the database file is corrupt.", "Restore it from a copy, or start with another data folder."),
    ("not a database", "the database file is not a SQLite database.", "Restore it from a copy, or name another file."),
    ("locked", "the database is locked by another program.", "Only one master may use a SQLite file."),
    ("readonly", "the database is read-only.", "Check the owner and permissions of the file and its folder."),
    ("unable to open", "the database file cannot be opened.", "Check that its folder exists and is writable."),
)

_POSTGRES_HINTS = (
    ("53100", "the disk of the database is full.", "Free some space; the master continues by itself."),
    ("53300", "the database has no free connection.", "Raise its max_connections, or run fewer masters."),
    ("28", "the database refuses the master's user or password.", "Check the URL in --database."),
    ("3D000", "the database does not exist.", "Create it, or name another one with --database."),
    ("42501", "the database denies permission to the master's user.", "Make the user the owner of the database."),
    ("25006", "the database is read-only: it is a standby.", "Name the primary with --database."),
    ("57014", "the database took too long.", "Check its load and its locks."),
)


def fault_of(error: DBAPIError) -> Fault:
    """The cause of the error."""
    code = _sqlstate(error)
    if code is None:
        text = str(error.orig)
        if error.connection_invalidated or "locked" in text:
            return Fault.UNREACHABLE
        return Fault.UNREACHABLE if _is_postgres(error) and "connect" in text else Fault.OWN
    if code in _CONFLICTS:
        return Fault.CONFLICT
    if error.connection_invalidated or code.startswith(_UNREACHABLE_CLASSES):
        return Fault.UNREACHABLE
    return Fault.OWN


def storage_problem(error: DBAPIError) -> StorageUnusable:
    """The error for the operator of the master."""
    text = str(error.orig).partition("\n")[0].rstrip(".")
    code = _sqlstate(error)
    if code is not None:
        for sign, message, hint in _POSTGRES_HINTS:
            if code.startswith(sign):
                return StorageUnusable(message, hint=hint)
    elif _is_postgres(error):
        return _unreachable(text)
    else:
        for sign, message, hint in _SQLITE_HINTS:
            if sign in text:
                return StorageUnusable(message, hint=hint)
    if fault_of(error) is Fault.UNREACHABLE:
        return _unreachable(text)
    return StorageUnusable(f"the database failed: {text}.", hint="Read the master's log.")


@contextmanager
def translated() -> Iterator[None]:
    """Translate the driver's errors into ours; a violated constraint is raised as it is."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise storage_problem(error) from error


def _unreachable(text: str) -> StorageUnusable:
    hint = "Check that it runs and can be reached; the master continues by itself."
    return StorageUnusable(f"the database cannot be reached: {text[:300]}.", hint=hint)


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _is_postgres(error: DBAPIError) -> bool:
    return type(error.orig).__module__.startswith("psycopg")

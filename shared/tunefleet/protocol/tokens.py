"""The messages about tokens, and what a token may be good for.

A token reads `tf_SCOPES_RANDOM`, so that a person who finds one knows what it opens, and a scanner of repositories
finds it. The master keeps only its sha256.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from tunefleet.model import Model
from tunefleet.names import Name
from tunefleet.study.durations import Seconds

PREFIX = "tf_"


class Scope(StrEnum):
    """What a token is good for; `tunefleet_master.access` has the table."""

    ADMIN = "admin"
    SUBMIT = "submit"
    WORK = "work"
    READ = "read"


class TokenRequest(Model):
    """Ask for a token."""

    name: Name
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    expires_in_s: Seconds | None = None
    """After which it opens nothing; None: it lasts until it is revoked."""


class TokenView(Model):
    """A token as it is read; the token itself is never shown again."""

    name: Name
    scopes: tuple[Scope, ...]
    state: Literal["good", "expired", "revoked"]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class NewToken(TokenView):
    """A token that was just made."""

    token: str
    """The token, shown this once."""

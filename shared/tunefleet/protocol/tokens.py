"""Tokens: what users request and read, and the scopes of a token.

A token reads `tf_SCOPES_RANDOM`: whoever finds one sees its scopes, and scanners of repositories recognise it. The
master stores only its sha256.
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
    """The kinds of access that a token grants; `tunefleet_master.access` has the table."""

    ADMIN = "admin"
    SUBMIT = "submit"
    WORK = "work"
    READ = "read"


class TokenRequest(Model):
    """Create a token."""

    name: Name
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    expires_in_s: Seconds | None = None
    """The token expires after this time; None: it is valid until it is revoked."""


class TokenView(Model):
    """A token as users read it, without its secret text."""

    name: Name
    scopes: tuple[Scope, ...]
    state: Literal["good", "expired", "revoked"]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class NewToken(TokenView):
    """A new token with its secret text."""

    token: str
    """The secret text. It is shown only once."""

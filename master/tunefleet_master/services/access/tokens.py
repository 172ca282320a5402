"""Creation, listing and revocation of tokens."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from tunefleet.errors import Conflict, NotFound
from tunefleet.protocol.tokens import PREFIX, NewToken, Scope, TokenRequest, TokenView
from tunefleet_master.storage import tokens as stored
from tunefleet_master.storage.tokens import Token
from tunefleet_master.storage.unit_of_work import UnitOfWork

TOKENS = "tokens"
"""The topic that is published when a token was created or revoked."""

FIRST = "first-admin"
MAX_TOKENS = 1_000
RANDOM_BYTES = 32


def create(uow: UnitOfWork, request: TokenRequest, *, admin_is_given: bool) -> NewToken:
    """Create a token; the name of an expired or revoked one may be used again.

    Args:
        uow: the transaction.
        request: the token's name, scopes and lifetime.
        admin_is_given: an admin token from outside the database is valid.

    Raises:
        Conflict: a valid token has the name, there are too many, or no admin token exists and this is not one.
    """
    stored.lock(uow.connection)
    known = stored.everything(uow.connection)
    namesake = next((token for token in known if token.name == request.name), None)
    if namesake is not None:
        if namesake.is_valid(uow.now):
            raise Conflict(f"a token named {request.name!r} exists.", hint="Revoke it first, or choose another name.")
        stored.remove(uow.connection, request.name)
    if len(known) >= MAX_TOKENS:
        raise Conflict(f"there are {MAX_TOKENS:,} tokens already.", hint="Use the name of an old one again.")
    if Scope.ADMIN not in request.scopes and not admin_is_given and not _admins(uow, known):
        raise Conflict(
            "nobody has a token with the scope admin, and without one no other token could be revoked.",
            hint="Make that one first: tunefleet token create NAME --scope admin",
        )
    return _add(uow, request)


def first(uow: UnitOfWork) -> NewToken | None:
    """Create an admin token if the database has no token at all."""
    stored.lock(uow.connection)
    if stored.count(uow.connection):
        return None
    return _add(uow, TokenRequest(name=FIRST, scopes=frozenset({Scope.ADMIN})))


def everything(uow: UnitOfWork) -> list[TokenView]:
    """Return all tokens by name."""
    return [_view(uow, token) for token in stored.everything(uow.connection)]


def revoke(uow: UnitOfWork, name: str, *, admin_is_given: bool) -> None:
    """Revoke a token. Idempotent.

    Raises:
        NotFound: there is no such token. Conflict: it is the last admin token.
    """
    stored.lock(uow.connection)
    known = stored.everything(uow.connection)
    token = next((token for token in known if token.name == name), None)
    if token is None:
        raise NotFound(f"there is no token {name!r}.")
    if not admin_is_given and [admin.name for admin in _admins(uow, known)] == [name]:
        raise Conflict(f"{name!r} is the last token with the scope admin.", hint="Make another one first.")
    stored.revoke(uow.connection, name, now=uow.now)
    uow.notify_after_commit(TOKENS)


def snapshot(uow: UnitOfWork) -> tuple[list[Token], bytes, datetime]:
    """Return all tokens, the secret that signs sessions and the tokens of attempts, and the time."""
    return stored.everything(uow.connection), stored.secret(uow.connection), uow.now


def digest_of(token: bytes) -> str:
    """Return the stored digest of a token; 32 random bytes need no slow hash."""
    return hashlib.sha256(token).hexdigest()


def _add(uow: UnitOfWork, request: TokenRequest) -> NewToken:
    token = f"{PREFIX}{'-'.join(sorted(request.scopes))}_{secrets.token_urlsafe(RANDOM_BYTES)}"
    expires_at = None if request.expires_in_s is None else uow.now + timedelta(seconds=request.expires_in_s)
    stored.add(
        uow.connection,
        request.name,
        digest=digest_of(token.encode()),
        scopes=request.scopes,
        expires_at=expires_at,
        now=uow.now,
    )
    uow.notify_after_commit(TOKENS)
    added = stored.named(uow.connection, request.name)
    assert added is not None  # it was just added, in this transaction
    return NewToken(**dict(_view(uow, added)), token=token)


def _admins(uow: UnitOfWork, known: list[Token]) -> list[Token]:
    return [token for token in known if Scope.ADMIN in token.scopes and token.is_valid(uow.now)]


def _view(uow: UnitOfWork, token: Token) -> TokenView:
    return TokenView(
        name=token.name,
        scopes=tuple(sorted(token.scopes)),
        state="revoked" if token.revoked_at else "good" if token.is_valid(uow.now) else "expired",
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
    )

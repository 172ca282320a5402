"""A cache of all tokens, so that requests are authenticated without a query."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tunefleet.errors import StorageUnusable
from tunefleet.protocol.tokens import PREFIX, Scope
from tunefleet_master.access import Caller
from tunefleet_master.services.access import tokens
from tunefleet_master.services.access.tokens import TOKENS, digest_of
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.subscriptions import Subscriptions

REFRESH_S = 2.0  # the longest time that a token works after another master has revoked it
SESSION_S = 7 * 86_400  # of a browser
ATTEMPT = f"{PREFIX}attempt_".encode()
_INDEX_DIGITS = 16  # of a digest, the key of the cache; the whole digest is compared in constant time

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedToken:
    """A token that is not revoked."""

    id: int
    digest: str
    caller: Caller
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """A browser session; it derives from a token and ends with it."""

    cookie: str
    expires_at: datetime


class TokenCache:
    """The tokens of the master. `load` must run first.

    Args:
        database: stores the tokens.
        subscriptions: notify when a token was created or revoked.
        given: an admin token from the environment; a token that is also in the database has its scopes there.
        is_local: only this machine can reach the master, so tokens are optional.
    """

    def __init__(self, database: Database, subscriptions: Subscriptions, *, given: str | None, is_local: bool) -> None:
        self._database = database
        self._subscriptions = subscriptions
        self._is_local = is_local
        self._given = None if given is None else _given_token(given)
        self._is_given_known = False
        self._tokens: dict[str, CachedToken] = {}
        self._has_tokens = False
        self._secret = b""
        self._loaded_at = datetime.min.replace(tzinfo=UTC)
        """By the clock of the database, which decides when tokens expire."""
        self._loaded_tick_s = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Return whether requests need no token: none exists, and only this machine can reach the master."""
        return self._is_local and self._given is None and not self._has_tokens

    @property
    def admin_is_given(self) -> bool:
        """Return whether an admin token from outside the database is valid."""
        return self._given is not None and not self._is_given_known

    async def load(self) -> None:
        """Read all tokens; raises StorageUnusable."""
        known, self._secret, self._loaded_at = await self._database.aread(tokens.snapshot)
        self._loaded_tick_s = time.monotonic()
        self._has_tokens = bool(known)
        # The environment may contain a user's own token with fewer scopes.
        self._is_given_known = self._given is not None and self._given.digest in {token.digest for token in known}
        keys = [
            CachedToken(token.id, token.digest, Caller(f"the token {token.name!r}", token.scopes), token.expires_at)
            for token in known
            if token.revoked_at is None
        ]
        if self._given is not None and not self._is_given_known:
            keys.append(self._given)
        self._tokens = {key.digest[:_INDEX_DIGITS]: key for key in keys}

    async def run(self) -> None:
        """Reload the tokens until cancelled; while the database is unusable, the last known ones stay valid."""
        with self._subscriptions.subscribe(TOKENS) as subscription:
            while True:
                await subscription.wait(REFRESH_S)
                try:
                    await self.load()
                except StorageUnusable as error:
                    _log.error("tokens: %s", error)

    def caller_of(self, token: bytes) -> Caller | None:
        """Return the caller with this token; None for an invalid one."""
        if token.startswith(ATTEMPT):
            return self._attempt_of(token)
        key = self._find(token)
        return None if key is None else key.caller

    def token_of_attempt(self, trial_id: int, attempt: int) -> str | None:
        """Return the token of an attempt, always the same one; None when the master needs no tokens."""
        if self.is_open:
            return None
        name = f"{trial_id}-{attempt}"
        return f"{ATTEMPT.decode()}{name}_{self._signature('attempt', name)}"

    def begin_session(self, token: bytes) -> Session | None:
        """Return a new session for the holder of a token; None for an invalid one."""
        key = self._find(token)
        if key is None:
            return None
        end = self._now() + timedelta(seconds=SESSION_S)
        expires_at = end if key.expires_at is None else min(end, key.expires_at)
        name = f"{key.id}-{int(expires_at.timestamp())}"
        return Session(f"{name}.{self._signature('session', f'{name}-{key.digest}')}", expires_at)

    def caller_of_session(self, cookie: str) -> Caller | None:
        """Return the caller of a session; None when it, or its token, has ended."""
        name, _, signature = cookie.partition(".")
        number, _, end = name.partition("-")
        key = next((key for key in self._tokens.values() if str(key.id) == number), None)
        if key is None or self._is_expired(key):
            return None
        if not _is_equal(signature, self._signature("session", f"{name}-{key.digest}")):
            return None
        return key.caller if self._now().timestamp() < int(end) else None

    def _find(self, token: bytes) -> CachedToken | None:
        digest = digest_of(token)
        key = self._tokens.get(digest[:_INDEX_DIGITS])
        if key is None or not hmac.compare_digest(key.digest, digest) or self._is_expired(key):
            return None
        return key

    def _now(self) -> datetime:
        return self._loaded_at + timedelta(seconds=time.monotonic() - self._loaded_tick_s)

    def _is_expired(self, key: CachedToken) -> bool:
        return key.expires_at is not None and self._now() >= key.expires_at

    def _attempt_of(self, token: bytes) -> Caller | None:
        name, _, signature = token.removeprefix(ATTEMPT).decode("latin-1").partition("_")
        if not _is_equal(signature, self._signature("attempt", name)):
            return None
        trial_id, attempt = (int(number) for number in name.split("-"))
        return Caller(f"attempt {attempt} of trial {trial_id}", attempt=(trial_id, attempt))

    def _signature(self, kind: str, text: str) -> str:
        made = hmac.digest(self._secret, f"{kind}:{text}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def _given_token(token: str) -> CachedToken:
    return CachedToken(0, digest_of(token.encode()), Caller("the given token", frozenset({Scope.ADMIN})), None)


def _is_equal(shown: str, right: str) -> bool:
    return hmac.compare_digest(shown.encode(), right.encode())

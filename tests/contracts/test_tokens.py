"""Tokens on every database: created, cached, expired, revoked, and reloaded by other masters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import methodcaller
from typing import Any, TypeVar

import pytest

from tunefleet.errors import Conflict, NotFound
from tunefleet.protocol.tokens import NewToken, Scope, TokenRequest
from tunefleet_master.access import Access
from tunefleet_master.services.access import tokens
from tunefleet_master.services.access.token_cache import SESSION_S, TokenCache
from tunefleet_master.services.access.tokens import TOKENS
from tunefleet_master.storage import tokens as stored
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.subscriptions import Subscriptions

T = TypeVar("T")


def make(master: Any, name: str, *scopes: Scope, expires_in_s: float | None = None, given: bool = True) -> NewToken:
    request = TokenRequest(name=name, scopes=frozenset(scopes), expires_in_s=expires_in_s)
    made: NewToken = master.call(tokens.create, request, admin_is_given=given)
    return made


def from_cache(master: Any, read: Callable[[TokenCache], T], *, given: str | None = None, is_local: bool = True) -> T:
    """Return a freshly loaded token cache's answer."""

    async def load() -> T:
        token_cache = TokenCache(master.database, Subscriptions(), given=given, is_local=is_local)
        await token_cache.load()
        return read(token_cache)

    return asyncio.run(load())


def opens(master: Any, token: str) -> set[str]:
    """Return the scopes of a token; none when it is invalid."""
    caller = from_cache(master, lambda token_cache: token_cache.caller_of(token.encode()))
    return {str(scope) for scope in caller.scopes} if caller else set()


def test_a_token_grants_its_scopes_and_only_its_hash_is_stored(master) -> None:
    made = make(master, "ci", Scope.SUBMIT, Scope.WORK)

    assert made.token.startswith("tf_submit-work_")
    assert len(made.token.rpartition("work_")[2]) == 43  # 32 random bytes
    assert opens(master, made.token) == {"submit", "work"}
    [kept] = master.read(lambda uow: stored.everything(uow.connection))
    assert made.token not in repr(kept)
    assert kept.digest == tokens.digest_of(made.token.encode())


def test_a_modified_token_is_invalid(master) -> None:
    token = make(master, "ci", Scope.READ).token

    for other in (token[:-1], token + "x", token.replace("read", "admin"), "", "tf_read_"):
        assert opens(master, other) == set()


def test_an_expired_token_is_invalid_and_listed_as_expired(master) -> None:
    token = make(master, "ci", Scope.READ, expires_in_s=60).token

    master.pass_time(59)
    assert opens(master, token) == {"read"}
    master.pass_time(1)

    assert opens(master, token) == set()
    assert [view.state for view in master.read(tokens.everything)] == ["expired"]


def test_a_token_expires_without_a_reload(master) -> None:
    token = make(master, "ci", Scope.READ, expires_in_s=0.05).token.encode()

    def wait(token_cache: TokenCache) -> bool:
        while token_cache.caller_of(token) is not None:
            pass
        return True

    assert from_cache(master, wait)


def test_a_revoked_token_is_invalid_and_every_master_is_notified(master) -> None:
    token = make(master, "ci", Scope.READ).token
    master.topics.clear()

    master.call(tokens.revoke, "ci", admin_is_given=True)
    master.call(tokens.revoke, "ci", admin_is_given=True)

    assert TOKENS in master.topics
    assert opens(master, token) == set()
    assert [view.state for view in master.read(tokens.everything)] == ["revoked"]


def test_revoking_an_unknown_token_is_not_found(master) -> None:
    with pytest.raises(NotFound, match="'nobody'"):
        master.call(tokens.revoke, "nobody", admin_is_given=True)


def test_a_name_is_taken_while_its_token_is_valid_and_free_afterwards(master) -> None:
    first = make(master, "ci", Scope.READ)
    with pytest.raises(Conflict, match="'ci'"):
        make(master, "ci", Scope.READ)
    master.call(tokens.revoke, "ci", admin_is_given=True)

    second = make(master, "ci", Scope.WORK)

    assert opens(master, first.token) == set()
    assert opens(master, second.token) == {"work"}


def test_the_first_token_must_be_an_admins_and_the_last_admin_token_cannot_be_revoked(master) -> None:
    with pytest.raises(Conflict, match="admin"):
        make(master, "ci", Scope.READ, given=False)
    make(master, "me", Scope.ADMIN, given=False)
    make(master, "ci", Scope.READ, given=False)

    with pytest.raises(Conflict, match="last token"):
        master.call(tokens.revoke, "me", admin_is_given=False)
    make(master, "you", Scope.ADMIN, given=False)
    master.call(tokens.revoke, "me", admin_is_given=False)

    states = {view.name: view.state for view in master.read(tokens.everything)}
    assert states == {"ci": "good", "me": "revoked", "you": "good"}


def test_with_an_admin_token_from_the_environment_any_token_may_be_first_and_any_may_be_revoked(master) -> None:
    make(master, "me", Scope.ADMIN)

    master.call(tokens.revoke, "me", admin_is_given=True)

    assert make(master, "ci", Scope.READ).name == "ci"


def test_the_first_admin_token_is_created_once(master) -> None:
    first = master.call(tokens.first)

    assert opens(master, first.token) == {"admin"}
    assert master.call(tokens.first) is None


def test_a_local_master_needs_no_token_until_one_was_created(master) -> None:
    def is_open(**options: Any) -> bool:
        return from_cache(master, lambda token_cache: token_cache.is_open, **options)

    assert is_open()
    assert not is_open(given="a-long-secret")
    assert not is_open(is_local=False)
    make(master, "me", Scope.ADMIN)
    assert not is_open()
    master.call(tokens.revoke, "me", admin_is_given=True)
    assert not is_open()


def test_the_token_from_the_environment_is_an_admins(master) -> None:
    caller = from_cache(master, lambda token_cache: token_cache.caller_of(b"a-long-secret"), given="a-long-secret")

    assert caller is not None
    caller.check(Access.ADMIN, None)


def test_a_stored_token_in_the_environment_keeps_its_scopes(master) -> None:
    token = make(master, "reader", Scope.READ).token

    def scopes(token_cache: TokenCache) -> set[str]:
        caller = token_cache.caller_of(token.encode())
        return {str(scope) for scope in caller.scopes} if caller else set()

    assert from_cache(master, scopes, given=token) == {"read"}
    assert not from_cache(master, lambda token_cache: token_cache.admin_is_given, given=token)
    master.call(tokens.revoke, "reader", admin_is_given=True)
    assert from_cache(master, scopes, given=token) == set()


def test_a_session_ends_with_its_token(master) -> None:
    token = make(master, "me", Scope.READ).token.encode()
    session = from_cache(master, lambda token_cache: token_cache.begin_session(token))
    assert session is not None

    def is_known() -> bool:
        return from_cache(master, lambda token_cache: token_cache.caller_of_session(session.cookie)) is not None

    assert is_known()
    master.call(tokens.revoke, "me", admin_is_given=True)
    assert not is_known()
    make(master, "me", Scope.READ)
    assert not is_known()


def test_a_session_expires_no_later_than_its_token(master) -> None:
    for name, expires_in_s in (("long", None), ("short", 60)):
        token = make(master, name, Scope.READ, expires_in_s=expires_in_s).token.encode()
        session = from_cache(master, methodcaller("begin_session", token))
        assert session is not None
        lasts_s = (session.expires_at - master.now).total_seconds()
        assert lasts_s == pytest.approx(expires_in_s or SESSION_S, abs=1)
        master.now = session.expires_at
        assert from_cache(master, methodcaller("caller_of_session", session.cookie)) is None


@pytest.mark.parametrize("cookie", ["", ".", "1-99999999999.", "1-99999999999.x", "0-1.x", "ü-ü.ü", "1-x.y"])
def test_a_forged_session_is_invalid(master, cookie: str) -> None:
    make(master, "me", Scope.READ)

    assert from_cache(master, lambda token_cache: token_cache.caller_of_session(cookie)) is None


def test_a_session_cannot_be_changed_to_another_token(master) -> None:
    token = make(master, "reader", Scope.READ).token.encode()
    make(master, "admin", Scope.ADMIN)
    ids = {token.name: token.id for token in master.read(lambda uow: stored.everything(uow.connection))}
    session = from_cache(master, lambda token_cache: token_cache.begin_session(token))
    assert session is not None

    forged = session.cookie.replace(f"{ids['reader']}-", f"{ids['admin']}-", 1)

    assert from_cache(master, lambda token_cache: token_cache.caller_of_session(forged)) is None


def test_all_masters_on_a_database_accept_the_same_attempt_tokens(master) -> None:
    make(master, "me", Scope.ADMIN)
    token = from_cache(master, lambda token_cache: token_cache.token_of_attempt(7, 2))
    assert token is not None

    caller = from_cache(master, lambda token_cache: token_cache.caller_of(token.encode()))

    assert caller is not None
    assert caller.attempt == (7, 2)
    for forged in (token.replace("7-2", "7-3"), token.replace("7-2", "8-2"), token[:-1]):
        assert from_cache(master, methodcaller("caller_of", forged.encode())) is None


def test_other_masters_reload_within_seconds(master) -> None:
    """The cache reloads without a notification."""

    async def follow() -> bool:
        subscriptions = Subscriptions()
        token_cache = TokenCache(master.database, subscriptions, given=None, is_local=True)
        await token_cache.load()
        running = asyncio.create_task(token_cache.run())
        token = make(master, "me", Scope.ADMIN).token.encode()
        async with asyncio.timeout(60):
            while token_cache.caller_of(token) is None:
                await asyncio.sleep(0.01)
        master.call(tokens.create, TokenRequest(name="b", scopes=frozenset({Scope.ADMIN})), admin_is_given=True)
        master.call(tokens.revoke, "me", admin_is_given=True)
        async with asyncio.timeout(60):
            while token_cache.caller_of(token) is not None:
                await asyncio.sleep(0.01)
        running.cancel()
        return True

    assert asyncio.run(follow())


def test_masters_that_start_at_once_create_one_first_token(master) -> None:
    masters = [Database(master.url) for _ in range(4)]
    made = [database.write(tokens.first) for database in masters]
    tokens_made = [future.result(timeout=60) for future in made]
    for database in masters:
        database.close()

    assert [token.name for token in tokens_made if token is not None] == ["first-admin"]
    assert len(master.read(tokens.everything)) == 1

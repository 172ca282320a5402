"""Tokens and the master's secrets: tables and queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, String, delete, func, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from tunefleet.protocol.tokens import Scope
from tunefleet_master.storage.tables import Table

SIGNING = "signing"
"""The secret that signs sessions and the tokens of attempts; the migration creates it."""


class TokenRow(Table):
    """An issued token. A revoked one stays, so that a master with tokens never counts as one without."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """The token's sha256; the token itself is not stored."""
    scopes: Mapped[str] = mapped_column(String(100))
    """Separated by spaces."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SecretRow(Table):
    """A secret that all masters on this database share."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(String(64))
    """As hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Token:
    """A stored token."""

    id: int
    name: str
    digest: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """True if the token is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def lock(connection: Connection) -> None:
    """Lock the tokens against changes by other masters until the transaction ends."""
    connection.execute(update(SecretRow).where(SecretRow.name == SIGNING).values(value=SecretRow.value))


def everything(connection: Connection) -> list[Token]:
    """All tokens by name, including expired and revoked ones; a few hundred at most."""
    rows = connection.execute(select(*TokenRow.__table__.columns).order_by(TokenRow.name))
    return [
        Token(**{**row._asdict(), "scopes": frozenset(Scope(scope) for scope in row.scopes.split())}) for row in rows
    ]


def count(connection: Connection) -> int:
    """The number of tokens in any state."""
    return connection.execute(select(func.count()).select_from(TokenRow)).scalar_one()


def named(connection: Connection, name: str) -> Token | None:
    """The token of this name."""
    return next((token for token in everything(connection) if token.name == name), None)


def add(
    connection: Connection,
    name: str,
    *,
    digest: str,
    scopes: Iterable[Scope],
    expires_at: datetime | None,
    now: datetime,
) -> None:
    """Store a token; no other token may have the name."""
    values = {"name": name, "digest": digest, "scopes": " ".join(sorted(scopes))}
    connection.execute(insert(TokenRow).values(**values, created_at=now, expires_at=expires_at))


def revoke(connection: Connection, name: str, *, now: datetime) -> None:
    """Revoke the token from now on; a token that is already revoked keeps its time."""
    query = update(TokenRow).where(TokenRow.name == name, TokenRow.revoked_at.is_(None))
    connection.execute(query.values(revoked_at=now))


def remove(connection: Connection, name: str) -> None:
    """Delete a token, to free its name."""
    connection.execute(delete(TokenRow).where(TokenRow.name == name))


def secret(connection: Connection, name: str = SIGNING) -> bytes:
    """A secret that all masters on this database share."""
    query = select(SecretRow.value).where(SecretRow.name == name)
    return bytes.fromhex(connection.execute(query).scalar_one())

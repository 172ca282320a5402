"""Tokens and the master's own secret: their tables and the queries on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, String, delete, func, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from tunefleet.protocol.tokens import Scope
from tunefleet_master.storage.tables import Table

SIGNING = "signing"
"""The secret that signs sessions and the tokens of attempts; the migration makes it."""


class TokenRow(Table):
    """A token that was given out. A revoked one stays, so that a master with tokens never counts as one without."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """The token's sha256; nothing else of it is kept."""
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
    """In hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept."""

    id: int
    name: str
    digest: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_good(self, now: datetime) -> bool:
        """Whether it opens something."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def hold(connection: Connection) -> None:
    """Wait for whoever makes or revokes a token at another master, until the end of the transaction."""
    connection.execute(update(SecretRow).where(SecretRow.name == SIGNING).values(value=SecretRow.value))


def everything(connection: Connection) -> list[Token]:
    """All tokens by name, the expired and revoked ones too; a few hundred at most."""
    rows = connection.execute(select(*TokenRow.__table__.columns).order_by(TokenRow.name))
    return [
        Token(**{**row._asdict(), "scopes": frozenset(Scope(scope) for scope in row.scopes.split())}) for row in rows
    ]


def count(connection: Connection) -> int:
    """How many there are, of any state."""
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
    """Keep a token; another one of the same name must be gone."""
    values = {"name": name, "digest": digest, "scopes": " ".join(sorted(scopes))}
    connection.execute(insert(TokenRow).values(**values, created_at=now, expires_at=expires_at))


def revoke(connection: Connection, name: str, *, now: datetime) -> None:
    """Let the token open nothing from now on; one that is revoked already keeps its time."""
    query = update(TokenRow).where(TokenRow.name == name, TokenRow.revoked_at.is_(None))
    connection.execute(query.values(revoked_at=now))


def remove(connection: Connection, name: str) -> None:
    """Forget a token, to make room for another one of its name."""
    connection.execute(delete(TokenRow).where(TokenRow.name == name))


def secret(connection: Connection, name: str = SIGNING) -> bytes:
    """A secret that all masters on this database share."""
    query = select(SecretRow.value).where(SecretRow.name == name)
    return bytes.fromhex(connection.execute(query).scalar_one())

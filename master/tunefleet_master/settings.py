"""Settings of the master, parsed once at its start."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from tunefleet.logs import LogFormat
from tunefleet.model import Model

DEFAULT_PORT = 8765
HEARTBEATS_PER_LEASE = 6  # a lease survives five lost heartbeats


def _check_token(token: str) -> str:
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("a token consists of ASCII letters, digits and punctuation, without spaces")
    return token


HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,253}$")]
Token = Annotated[str, StringConstraints(min_length=8, max_length=500), AfterValidator(_check_token)]


class Settings(Model):
    """All settings of the master; `Settings.parse` explains invalid values."""

    data: Path
    """The folder of the database and the stored files; created if it does not exist."""
    database: str | None = None
    """An SQLAlchemy URL; None: an SQLite file in the data folder."""
    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65_535)
    """0: any free one."""
    token: Token | None = Field(default=None, repr=False)
    """An admin token, in addition to those in the database."""
    allowed_hosts: tuple[HostName, ...] = Field(default=(), max_length=100)
    """Host names under which browsers may reach the master, in addition to this machine's own."""
    rate_limit: float = Field(default=10_000, ge=1, le=1_000_000)
    """Sustained requests per second for one token, or for one address without a token."""
    lease_s: float = Field(default=60.0, ge=0.2, le=86_400)
    keep_curves_days: float | None = Field(default=None, ge=0, le=36_500)
    """Days after a study's end until its learning curves are thinned to 100 points each; None: never."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = "text"
    max_body_bytes: int = Field(default=2_000_000, ge=1_000)
    max_artifact_bytes: int = Field(default=2_000_000_000, ge=1_000)
    max_bundle_bytes: int = Field(default=50_000_000, ge=1_000)

    @property
    def is_local(self) -> bool:
        """True if only this machine can reach the master, which may then run without tokens."""
        return is_loopback(self.host)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the database."""
        return self.database or f"sqlite:///{self.data / 'tunefleet.db'}"

    @property
    def lock_file(self) -> Path | None:
        """The lock file beside an SQLite file, which only one master may use; None for other databases."""
        match = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", self.database_url)
        return Path(f"{match[1]}.lock") if match else None

    @property
    def heartbeat_s(self) -> float:
        """The interval of a worker's heartbeats; 10 s with the default lease of 60 s."""
        return self.lease_s / HEARTBEATS_PER_LEASE

    @property
    def sweep_s(self) -> float:
        """The interval of sweeps for expired leases; 2 s with the default lease."""
        return min(2.0, self.lease_s / 4)


def is_loopback(host: str) -> bool:
    """True if only this machine can reach an address; a name other than `localhost` could resolve to anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

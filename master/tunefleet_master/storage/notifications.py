"""Telling the other masters on the same Postgres what has happened, through its LISTEN and NOTIFY."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator

from sqlalchemy import URL, Connection, text

CHANNEL = "tunefleet"

EVERYTHING = "*"
"""The topic of those who may have missed something: every bell rings."""

MAX_PAYLOAD = 7_000  # Postgres takes less than 8,000 bytes
LOOK_EVERY_S = 0.2  # how soon `close` is noticed
LOOKS_PER_PROBE = 50  # a connection that died in silence is found out
RECONNECT_AFTER_S = 1.0

log = logging.getLogger(__name__)

_NOTIFY = text("SELECT pg_notify(:channel, :payload)")


def notify(connection: Connection, sender: str, topics: Iterable[str]) -> None:
    """Send the topics when the transaction commits; `sender` will not hear them."""
    for payload in _payloads(sender, sorted(topics)):
        connection.execute(_NOTIFY, {"channel": CHANNEL, "payload": payload})


def _payloads(sender: str, topics: Iterable[str]) -> Iterator[str]:
    payload = sender
    for topic in topics:
        if len(payload.encode()) + len(topic.encode()) >= MAX_PAYLOAD:
            yield payload
            payload = sender
        payload += f"\n{topic}"
    if payload != sender:
        yield payload


class Listener:
    """A thread that hears what other masters tell, and reconnects for as long as it lives.

    What was told while it was not connected is lost, so all bells ring after each connection.
    """

    def __init__(self, url: URL, *, name: str, publish: Callable[[Iterable[str]], None]) -> None:
        self._conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._name = name
        self._publish = publish
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End within a moment."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        import psycopg  # on SQLite nobody needs it

        while not self._closing.is_set():
            try:
                self._listen()
            except psycopg.Error as error:
                log.warning("cannot hear the other masters: %s", " ".join(str(error).split()))
                self._closing.wait(RECONNECT_AFTER_S)

    def _listen(self) -> None:
        import psycopg

        with psycopg.connect(
            self._conninfo, autocommit=True, connect_timeout=5, application_name="tunefleet-listener"
        ) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._publish({EVERYTHING})
            for n in itertools.count(1):
                for notice in connection.notifies(timeout=LOOK_EVERY_S):
                    self._hear(notice.payload)
                if self._closing.is_set():
                    return
                if n % LOOKS_PER_PROBE == 0:
                    connection.execute("SELECT 1")

    def _hear(self, payload: str) -> None:
        sender, *topics = payload.split("\n")
        if sender != self._name:
            self._publish(topics)

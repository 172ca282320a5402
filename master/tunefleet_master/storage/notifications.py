"""Notifications between masters on the same Postgres database, through LISTEN and NOTIFY."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator

from sqlalchemy import URL, Connection, text

CHANNEL = "tunefleet"

EVERYTHING = "*"
"""The topic that notifies every subscription, sent when notifications may have been lost."""

MAX_PAYLOAD = 7_000  # Postgres accepts less than 8,000 bytes
POLL_S = 0.2  # the longest time until the thread notices `close`
POLLS_PER_PROBE = 50  # how often to detect a connection that broke silently
RECONNECT_AFTER_S = 1.0

log = logging.getLogger(__name__)

_NOTIFY = text("SELECT pg_notify(:channel, :payload)")


def notify(connection: Connection, sender: str, topics: Iterable[str]) -> None:
    """Send the topics when the transaction commits; the listener of `sender` ignores them."""
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
    """A thread that receives the notifications of other masters, and reconnects until it is closed.

    Notifications sent while it was disconnected are lost, so it notifies every subscription after each connection.
    """

    def __init__(self, url: URL, *, name: str, publish: Callable[[Iterable[str]], None]) -> None:
        self._conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._name = name
        self._publish = publish
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread within a moment."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        import psycopg  # not needed on SQLite

        while not self._closing.is_set():
            try:
                self._listen()
            except psycopg.Error as error:
                log.warning("cannot receive the notifications of other masters: %s", " ".join(str(error).split()))
                self._closing.wait(RECONNECT_AFTER_S)

    def _listen(self) -> None:
        import psycopg

        with psycopg.connect(
            self._conninfo, autocommit=True, connect_timeout=5, application_name="tunefleet-listener"
        ) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._publish({EVERYTHING})
            for n in itertools.count(1):
                for notice in connection.notifies(timeout=POLL_S):
                    self._receive(notice.payload)
                if self._closing.is_set():
                    return
                if n % POLLS_PER_PROBE == 0:
                    connection.execute("SELECT 1")

    def _receive(self, payload: str) -> None:
        sender, *topics = payload.split("\n")
        if sender != self._name:
            self._publish(topics)

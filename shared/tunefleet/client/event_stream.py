"""Server-sent events, parsed into messages (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.client.retries import RetryPolicy
from tunefleet.client.transport import Transport, route
from tunefleet.protocol import Event


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    """Yield the events of one connection; skip comments, other fields and an incomplete last event."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield Event.model_validate_json("\n".join(data))
            data = []


def follow(transport: Transport, study: str, *, after: int) -> Iterator[Event]:
    """Yield the events of a study after the id `after` without end; reconnect after a disconnect.

    Args:
        transport: the connection to the master.
        study: the study's name.
        after: the id of the last event that the caller has; 0 for all events.
    """
    last, policy = after, RetryPolicy(None)
    while True:
        with transport.lines(route("studies", study, "events"), headers={"Last-Event-ID": str(last)}) as lines:
            for event in events_of(lines):
                last = event.id
                policy.reset()
                yield event
        transport.wait(policy.wait_s() or 0.0)

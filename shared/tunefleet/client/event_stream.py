"""Server-sent events as our messages (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.client.retries import RetryPolicy
from tunefleet.client.transport import Transport, route
from tunefleet.protocol import Event


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    """The events of one connection; comments, other fields and a last event that was cut off are passed over."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield Event.model_validate_json("\n".join(data))
            data = []


def follow(transport: Transport, study: str, *, after: int) -> Iterator[Event]:
    """The events of a study behind the id `after`, for as long as the caller reads; connects again after a cut.

    Args:
        transport: the way to the master.
        study: its name.
        after: the id of the last event that the caller has; 0 for all.
    """
    last, policy = after, RetryPolicy(None)
    while True:
        with transport.lines(route("studies", study, "events"), headers={"Last-Event-ID": str(last)}) as lines:
            for event in events_of(lines):
                last = event.id
                policy.reset()
                yield event
        transport.wait(policy.wait_s() or 0.0)

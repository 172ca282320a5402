"""The watch over a trial's model: find its implementation, query it, store its telemetry, close it.

An implementation needs torch, and this package must stay light. So `Watch` is a protocol, and the implementation is
found by the entry point `torch` of the group `tunefleet.watch`. A notebook and a worker find the same one.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from tunefleet.errors import InvalidInput, Problem
from tunefleet.protocol.telemetry import TELEMETRY, Telemetry

GROUP, NAME = "tunefleet.watch", "torch"

Store = Callable[[str, Path], None]
"""Stores a file as an artifact of this name: `Trial._keep`."""


class Watch(Protocol):
    """A watch over one model and its optimizers."""

    epoch: int | None
    """The step that the trial runs; set by the caller."""

    def summaries(self) -> dict[str, float]:
        """Return the metrics that are new since the last call; empty when there are none."""
        ...

    def telemetry(self) -> Telemetry:
        """Return everything measured so far."""
        ...

    def is_due(self) -> bool:
        """Return True when twice as many updates were made as at the last `note_written`."""
        ...

    def is_newer(self) -> bool:
        """Return True when an update was made since the last `note_written`."""
        ...

    def note_written(self) -> None:
        """Record that the telemetry is stored as it is now."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint, as JSON."""
        ...

    def restore(self, state: dict[str, Any], /) -> None:
        """Continue from the `state` of another watch of the same training."""
        ...

    def close(self) -> None:
        """Remove all hooks; safe to call twice."""
        ...


class WatchSession:
    """The watch of one trial; every method works before a watch begins and after it ends."""

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self._earlier: Any = None
        self._epoch: int | None = None
        self._metrics: dict[str, float] = {}

    def begin(self, model: Any, optimizers: Sequence[Any], *, scaler: Any) -> None:
        """Start to watch a model. Raises InvalidInput: see `Trial.watch`."""
        if self._watch is not None:
            raise InvalidInput([Problem("watch", "trial.watch(...) was called before, and a trial watches one model")])
        watch = _implementation()(model, optimizers, scaler=scaler)
        self._watch = watch
        weakref.finalize(self, watch.close).atexit = False  # closes the watch of a trial without epochs
        watch.epoch = self._epoch
        self.restore(self._earlier)

    @property
    def epoch(self) -> int | None:
        """The step that the trial runs."""
        return self._epoch

    @epoch.setter
    def epoch(self, step: int) -> None:
        self._epoch = step
        if self._watch is not None:
            self._watch.epoch = step

    def telemetry(self) -> Telemetry | None:
        """Return everything measured so far; None without a watch."""
        return None if self._watch is None else self._watch.telemetry()

    def state(self) -> Any:
        """Return the state for a checkpoint, as JSON; None without a watch."""
        return self._earlier if self._watch is None else self._watch.state()

    def restore(self, state: Any) -> None:
        """Continue from the state in a checkpoint; also works before the watch begins."""
        self._earlier = state
        if self._watch is not None and state is not None:
            self._watch.restore(state)

    def start_step(self) -> None:
        """Forget the metrics of the last step: the trial reports another one."""
        self._metrics = {}

    def with_summaries(self, metrics: Mapping[str, float], *, at_most: int) -> dict[str, float]:
        """Return the metrics of a step with those of the watch added, `at_most` in all; the caller's own win."""
        if self._watch is not None:
            self._metrics |= self._watch.summaries()
        added = [item for item in self._metrics.items() if item[0] not in metrics]
        return {**metrics, **dict(added[: at_most - len(metrics)])}

    def store_if_due(self, store: Store, folder: Path) -> None:
        """Store the telemetry each time the number of updates has doubled."""
        if self._watch is not None and self._watch.is_due():
            self._store(store, folder)

    def close(self, store: Store, folder: Path) -> None:
        """Remove the hooks, and store what is not stored yet; safe to call twice."""
        if self._watch is None:
            return
        self._watch.close()
        if self._watch.is_newer():
            self._store(store, folder)

    def _store(self, store: Store, folder: Path) -> None:
        """Store the telemetry; a failure is printed and does not fail the trial."""
        if self._watch is None:
            return
        try:
            draft = folder / f".{TELEMETRY}"
            draft.write_text(self._watch.telemetry().model_dump_json(), encoding="utf-8")
            store(TELEMETRY, draft)
            self._watch.note_written()
        except Exception as error:
            print(f"[tunefleet] the telemetry of this trial could not be stored: {error}", flush=True)


def _implementation() -> Callable[..., Watch]:
    """Load the implementation of `Watch`. Raises InvalidInput when it, or torch, is not installed."""
    found = next(iter(entry_points(group=GROUP, name=NAME)), None)
    if found is None:
        raise InvalidInput(
            [Problem("watch", f"needs an entry point {NAME!r} in the group {GROUP!r}, and none is installed")],
            hint="Install tunefleet with `pip install 'tunefleet[worker]'`; in a checkout, run `make venv` again.",
        )
    try:
        implementation: Callable[..., Watch] = found.load()
    except ImportError as error:
        raise InvalidInput(
            [Problem("watch", f"needs {error.name}, which is not installed")],
            hint="Install what training needs with `pip install 'tunefleet[worker]'`.",
        ) from error
    return implementation

"""What a trial does with the watch over its model: ask it, store what it saw, let it go.

The watch itself needs torch and lives with the workers' training toolbox, `tunefleet_worker.watching`. It is imported
by its name when a trial is given a model to watch, so that this package stays light and a notebook has it all the same.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tunefleet.errors import InvalidInput, Problem
from tunefleet.protocol.telemetry import TELEMETRY, Telemetry

TOOLBOX = "tunefleet_worker.watching"

Keep = Callable[[str, Path], None]
"""Keeps a file as an artifact: `Trial._keep`."""


class Watched:
    """The watch of one trial, from before there is one to after it has ended."""

    def __init__(self) -> None:
        self._watch: Any = None
        self._earlier: Any = None
        self._epoch: int | None = None
        self._metrics: dict[str, float] = {}

    def begin(self, model: Any, optimizers: Sequence[Any], *, scaler: Any) -> None:
        """Watch a model. Raises InvalidInput: see `Trial.watch`."""
        if self._watch is not None:
            raise InvalidInput([Problem("watch", "trial.watch(...) was called before, and one model is watched")])
        try:
            toolbox = import_module(TOOLBOX)
        except ImportError as error:
            raise InvalidInput(
                [Problem("watch", f"needs {error.name}, which is not installed")],
                hint="Install what training needs with `pip install 'tunefleet[worker]'`.",
            ) from error
        self._watch = toolbox.Watch(model, optimizers, scaler=scaler)
        weakref.finalize(self, self._watch.close).atexit = False  # a trial without epochs ends when it is gone
        self._watch.epoch = self._epoch
        self.restore(self._earlier)

    @property
    def epoch(self) -> int | None:
        """The step that the trial is at."""
        return self._epoch

    @epoch.setter
    def epoch(self, step: int) -> None:
        self._epoch = step
        if self._watch is not None:
            self._watch.epoch = step

    def telemetry(self) -> Telemetry | None:
        """What was seen; None without a watch."""
        return None if self._watch is None else self._watch.telemetry()

    def state(self) -> Any:
        """What a checkpoint keeps, as JSON; None without a watch."""
        return self._earlier if self._watch is None else self._watch.state()

    def restore(self, state: Any) -> None:
        """Go on from a checkpoint's; also when the watch begins only later."""
        self._earlier = state
        if self._watch is not None and state is not None:
            self._watch.restore(state)

    def forget_metrics(self) -> None:
        """Another step is reported."""
        self._metrics = {}

    def added_to(self, metrics: Mapping[str, float], *, at_most: int) -> dict[str, float]:
        """The metrics of a step, and those of the watch behind them, as far as there is room; the caller's own win."""
        if self._watch is not None:
            self._metrics |= self._watch.summaries()
        added = [item for item in self._metrics.items() if item[0] not in metrics]
        return {**metrics, **dict(added[: at_most - len(metrics)])}

    def keep(self, keep: Keep, folder: Path) -> None:
        """Store the telemetry when that is due: a number of times that grows with the log of the updates."""
        if self._watch is not None and self._watch.is_due():
            self._store(keep, folder)

    def end(self, keep: Keep, folder: Path) -> None:
        """Store what is not stored yet, and take the hooks away; safe to call twice."""
        if self._watch is None:
            return
        self._watch.close()
        if self._watch.is_newer():
            self._store(keep, folder)

    def _store(self, keep: Keep, folder: Path) -> None:
        """Store the telemetry; a trial is not lost for what was seen of it."""
        try:
            draft = folder / f".{TELEMETRY}"
            draft.write_text(self._watch.telemetry().model_dump_json(), encoding="utf-8")
            keep(TELEMETRY, draft)
            self._watch.note_written()
        except Exception as error:
            print(f"[tunefleet] the telemetry of this trial could not be stored: {error}", flush=True)

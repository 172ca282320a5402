"""The log of one trial as a stream of text."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TextIO

from tunefleet.cli.output import cell_text
from tunefleet.client.study import LOG_NAME, Study
from tunefleet.protocol import TrialDetail
from tunefleet.study.states import UNFINISHED

POLL_S = 1.0


class TrialLog:
    """A printer of a trial's log and, while the trial runs, of its metrics; it prints each line once.

    Attributes:
        is_over: True when the trial had ended at the last request.
    """

    def __init__(self, study: Study, number: int, *, out: TextIO) -> None:
        self.is_over = False
        self._study = study
        self._number = number
        self._out = out
        self._printed_hash = ""
        self._n_printed = 0
        self._last_step = -1

    def print(self) -> bool:
        """Print the current log; return False when there is none."""
        trial = self._fetch()
        return self._print_log(trial) or self._print_tail(trial)

    def follow(self) -> bool:
        """Print new output until the trial ends; return False when there is none."""
        has_printed = False
        while True:
            trial = self._fetch()
            has_printed |= self._print_log(trial) | self._print_points(trial)
            if self.is_over:
                return has_printed or self._print_tail(trial)
            time.sleep(POLL_S)

    def _fetch(self) -> TrialDetail:
        trial = self._study.trial(self._number)
        self.is_over = trial.state not in UNFINISHED
        return trial

    def _print_log(self, trial: TrialDetail) -> bool:
        artifact = next((one for one in trial.artifacts if one.name == LOG_NAME), None)
        if artifact is None or artifact.sha256 == self._printed_hash:
            return False
        with tempfile.TemporaryDirectory(prefix="tunefleet-log-") as folder:
            path = Path(folder) / LOG_NAME
            self._study.fetch(trial, LOG_NAME, to=path)
            content = path.read_bytes()
        self._printed_hash = artifact.sha256
        self._write(content[self._n_printed :].decode(errors="replace"))
        self._n_printed = max(self._n_printed, len(content))
        return True

    def _print_tail(self, trial: TrialDetail) -> bool:
        """Print the log tail of the last failed attempt, for a trial without a stored log."""
        tail = next((attempt.log_tail for attempt in reversed(trial.attempts) if attempt.log_tail), "")
        self._write(tail)
        return bool(tail)

    def _print_points(self, trial: TrialDetail) -> bool:
        new = [point for point in trial.curve if point.step > self._last_step] if trial.state in UNFINISHED else []
        for point in new:
            metrics = "  ".join(f"{name} {cell_text(value)}" for name, value in point.metrics.items())
            self._write(f"step {point.step + 1}  {metrics}\n")
            self._last_step = point.step
        return bool(new)

    def _write(self, text: str) -> None:
        self._out.write(text if not text or text.endswith("\n") else f"{text}\n")
        self._out.flush()

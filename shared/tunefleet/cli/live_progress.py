"""A study's progress on stderr: a live view on a terminal, or a line for each change."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tunefleet.cli import output, preflight_report
from tunefleet.cli.progress import is_blocked, line, n_done, progress_view
from tunefleet.protocol import StudyDetail, TrialState
from tunefleet.study.stages import steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunefleet.client.study import Study

N_SHOWN = 8  # running trials in the live view
Show = Callable[[StudyDetail], None]


def watch_study(study: Study, *, workers_start_s: float = 0.0) -> StudyDetail:
    """Show the study's progress on stderr until it is over.

    Args:
        study: the study.
        workers_start_s: the time in which missing workers cause no warning.
    """
    quiet_until = time.monotonic() + workers_start_s
    with live_display(study) as show:

        def progress(view: StudyDetail) -> None:
            is_early = time.monotonic() < quiet_until
            show(view.model_copy(update={"unclaimed": ""}) if is_early else view)

        view = study.wait(progress)
    from tunefleet.client.study import has_result

    if not has_result(view):
        _print_failures(study, view)
    return view


def _print_failures(study: Study, view: StudyDetail) -> None:
    """Print why a study has no result: its failed preflight checks and one of its failed trials."""
    for text in (
        preflight_report.report_lines(view.preflight_report) if view.preflight_report and is_blocked(view) else ()
    ):
        output.print_message(text)
    for trial in study.trials(TrialState.FAILED, limit=1):
        output.print_message(f"trial {trial.number} failed: {trial.message}")
        output.print_message(f"hint: See what it printed: tunefleet logs {study.name} {trial.number}")


@contextmanager
def live_display(study: Study) -> Iterator[Show]:
    """Open a live view, or without a terminal print lines; the block gets a function that shows a study's view."""
    console = output.console(stderr=True)
    if not console.is_terminal:
        yield _LinePrinter()
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:

        def show(view: StudyDetail) -> None:
            running = study.trials(TrialState.RUNNING, limit=N_SHOWN)
            live.update(progress_view(view, list(running), steps=partial(steps_of, view.spec)), refresh=True)

        yield show


class _LinePrinter:
    """A printer of one line whenever a trial ends, the study's state changes, or workers become (un)available."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()

    def __call__(self, view: StudyDetail) -> None:
        now = (n_done(view), view.state, view.message, view.preflight, bool(view.unclaimed))
        if now != self._last:
            output.print_message(line(view))
        self._last = now

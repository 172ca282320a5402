"""Watch a study: a live picture on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tunefleet.cli import output, preflights
from tunefleet.cli.progress import is_blocked, line, n_done, picture
from tunefleet.protocol import StudyDetail, TrialState
from tunefleet.study.stages import steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunefleet.client.study import Study

N_SHOWN = 8  # trials that run, in the live picture
Show = Callable[[StudyDetail], None]


def watch_study(study: Study, *, workers_start_s: float = 0.0) -> StudyDetail:
    """Show the study's progress on stderr until it is over.

    Args:
        study: to watch.
        workers_start_s: nothing is said for so long about workers that are not there yet.
    """
    quiet_until = time.monotonic() + workers_start_s
    with showing(study) as show:

        def progress(view: StudyDetail) -> None:
            is_early = time.monotonic() < quiet_until
            show(view.model_copy(update={"unclaimed": ""}) if is_early else view)

        view = study.wait(progress)
    from tunefleet.client.study import has_result

    if not has_result(view):
        _say_why(study, view)
    return view


def _say_why(study: Study, view: StudyDetail) -> None:
    """What ended one of the trials of a study that came to nothing, or the preflight before them."""
    for text in preflights.lines(view.preflight_report) if view.preflight_report and is_blocked(view) else ():
        output.say(text)
    for trial in study.trials(TrialState.FAILED, limit=1):
        output.say(f"trial {trial.number} failed: {trial.message}")
        output.say(f"hint: See what it printed: tunefleet logs {study.name} {trial.number}")


@contextmanager
def showing(study: Study) -> Iterator[Show]:
    """A function that shows each view it is given, in the way that fits where stderr leads."""
    console = output.console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:

        def show(view: StudyDetail) -> None:
            running = study.trials(TrialState.RUNNING, limit=N_SHOWN)
            live.update(picture(view, list(running), steps=partial(steps_of, view.spec)), refresh=True)

        yield show


class _Lines:
    """A line whenever a trial has ended, the study's state has changed, or workers have gone or come."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()

    def __call__(self, view: StudyDetail) -> None:
        now = (n_done(view), view.state, view.message, view.preflight, bool(view.unclaimed))
        if now != self._last:
            output.say(line(view))
        self._last = now

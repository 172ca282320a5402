"""A study's progress as numbers, as one line and as a live view."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunefleet.cli.output import best_text, cell_text, params_text
from tunefleet.protocol import PreflightState, StudyState, StudyView, TrialState, TrialView
from tunefleet.study.durations import spoken
from tunefleet.study.states import DONE

BAR_WIDTH = 40


def n_done(view: StudyView) -> int:
    """Return the number of finished trials, without cancelled ones."""
    return sum(count for state, count in view.trials.items() if state in DONE)


def n_running(view: StudyView) -> int:
    """Return the number of running trials."""
    return view.trials.get(TrialState.RUNNING, 0)


def is_blocked(view: StudyView) -> bool:
    """Return True when a failed preflight blocks the study."""
    return view.state is StudyState.BLOCKED


def remaining_s(view: StudyView) -> float | None:
    """Estimate the remaining seconds from the pace so far; None before the first finished trial or without a limit."""
    bounds: list[float] = []
    done = n_done(view)
    if view.most_trials is not None and done:
        bounds.append(view.elapsed_s / done * max(0, view.most_trials - done))
    if view.budget.hours is not None:
        bounds.append(max(0.0, view.budget.hours * 3600 - view.elapsed_s))
    return min(bounds, default=None)


def line(view: StudyView) -> str:
    """Return `digits: 5/12 trials, 2 running, best val_accuracy 0.981 (trial 3), about 12 s left`."""
    of = f"/{view.most_trials}" if view.most_trials else ""
    parts = [f"{view.name}: {n_done(view)}{of} trials"]
    if view.state is StudyState.RUNNING:
        is_early = view.preflight is PreflightState.PENDING
        parts.append("waiting for its preflight" if is_early else f"{n_running(view)} running")
    else:
        parts.append(view.state.value + (f" ({view.message})" if view.message else ""))
    if paused := view.trials.get(TrialState.PAUSED, 0):
        parts.append(f"{paused} paused")
    if cancelled := view.trials.get(TrialState.CANCELLED, 0):
        parts.append(f"{cancelled} cancelled")
    failed = view.trials.get(TrialState.FAILED, 0)
    if failed and view.state is not StudyState.COMPLETE:  # the message of a complete study has the number
        parts.append(f"{failed} failed")
    if view.best is not None:
        parts.append(f"best {view.metric} {best_text(view)}")
    left = remaining_s(view)
    if view.state is StudyState.RUNNING and left is not None:
        parts.append(f"about {spoken(left)} left")
    return ", ".join(parts) + (f"\n{unclaimed_text(view)}" if view.unclaimed else "")


def unclaimed_text(view: StudyView) -> str:
    """Return the reason why no worker takes the study's trials."""
    return f"no worker takes trials of {view.name}: {view.unclaimed}"


def progress_view(
    view: StudyView, running: Sequence[TrialView], *, steps: Callable[[int], int | None]
) -> RenderableType:
    """Return the progress line, a bar, the best configuration and the running trials."""
    parts: list[RenderableType] = [Text(line(view))]
    if view.most_trials is not None:
        bar = Table.grid()  # a bar alone would not end its line
        bar.add_row(ProgressBar(total=view.most_trials, completed=n_done(view), width=BAR_WIDTH))
        parts.append(bar)
    if view.best is not None:
        parts.append(Text(f"best: {params_text(view.best.params)}", style="green"))
    if running:
        parts.append(_running_table(running, steps))
    return Group(*parts)


def _running_table(running: Sequence[TrialView], steps_of: Callable[[int], int | None]) -> Table:
    made = Table.grid(padding=(0, 2))
    for trial in running:
        steps = steps_of(trial.number)
        at = "starting" if trial.last_step is None else f"step {trial.last_step + 1}{f'/{steps}' if steps else ''}"
        made.add_row(f"trial {trial.number}", at, cell_text(trial.value), params_text(trial.params), style="dim")
    return made

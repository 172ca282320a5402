"""Output of the commands: results on stdout, messages on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tunefleet.errors import TunefleetError
    from tunefleet.protocol import StudyView, TrialView

PIPE_WIDTH = 100_000  # columns; tables in files and pipes are not folded
NOTE_WIDTH = 80  # columns on a terminal, so that a long note does not dominate the table
EMPTY = "–"


def console(*, stderr: bool = False) -> Console:
    """Return a console that does not fold lines without a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, soft_wrap=False, width=None if stream.isatty() else PIPE_WIDTH)


def print_message(text: str) -> None:
    """Print a line on stderr, for the user and not for programs."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def print_json(data: object) -> None:
    """Print data, messages or lists of messages as one JSON document."""
    import json

    sys.stdout.write(json.dumps(plain(data), indent=2, ensure_ascii=False) + "\n")


def plain(data: object) -> Any:
    """Return the data as JSON types: messages as dictionaries, infinity and NaN as texts, times in ISO 8601."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(data, by_alias=True, inf_nan_mode="strings")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """Return a plain table with right-aligned columns of numbers."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    cells = [list(row) for row in rows]
    for index, column in enumerate(columns):
        is_number = bool(cells) and all(isinstance(row[index], int | float | None) for row in cells)
        made.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in cells:
        made.add_row(*(cell_text(value) for value in row))
    return made


def best_text(view: StudyView) -> str:
    """Return the best value and its trials: `0.981 (trial 3)`, `0.978 ± 0.011 (trials 35 to 39)`, or `–`."""
    if view.best is None:
        return EMPTY
    first, last = view.best.number, view.best.number + view.folds - 1
    if view.best.standard_error is None:
        return f"{cell_text(view.best.value)} (trial {first})"
    return f"{mean_text(view.best.value, view.best.standard_error)} (trials {first} to {last})"


def mean_text(mean: float | None, standard_error: float | None) -> str:
    """Return a text such as `0.978 ± 0.011`."""
    return cell_text(mean) if standard_error is None else f"{cell_text(mean)} ± {standard_error:.2g}"


def cell_text(value: object) -> str:
    """Return a value as the text of a table's cell."""
    if value is None:
        return EMPTY
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def one_line(text: str) -> str:
    """Return a message as one line, shortened on a terminal only."""
    line = " ".join(text.split())
    return f"{line[: NOTE_WIDTH - 1]}…" if len(line) > NOTE_WIDTH and sys.stdout.isatty() else line


def command_for(name: str) -> str:
    """Return the shell command for a program of Tunefleet, also if the program is not on PATH."""
    import shlex
    import shutil
    from pathlib import Path

    if shutil.which(name):
        return name
    beside = Path(sys.executable).with_name(name)
    modules = {"tunefleet": "tunefleet", "tunefleet-worker": "tunefleet_worker", "tunefleet-master": "tunefleet_master"}
    return shlex.quote(str(beside)) if beside.exists() else f"{shlex.quote(sys.executable)} -m {modules[name]}"


def params_text(params: Mapping[str, object]) -> str:
    """Return a text such as `lr=0.003 optimizer=sgd`."""
    return " ".join(f"{name}={cell_text(value)}" for name, value in params.items())


def trial_table(trials: Sequence[TrialView], *, title: str | None = None, metrics: Sequence[str] = ()) -> Table:
    """Return a table of trials with a column for each parameter, in the order of `trials`.

    With several objectives, `metrics` names them, and the table has a column for each instead of `value`.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns = ["trial", "state", *(metrics or ["value"]), "step", *names, "took", "note"]
    return table(columns, [_trial_row(trial, names, len(metrics)) for trial in trials], title=title)


def error_lines(error: TunefleetError) -> list[str]:
    """Return `error: …` for each problem, then `hint: …`."""
    problems = [str(problem) for problem in getattr(error, "problems", ())] or [error.message]
    return [*(f"error: {problem}" for problem in problems), *([f"hint: {error.hint}"] if error.hint else [])]


def _trial_row(trial: TrialView, names: list[str], n_objectives: int) -> list[object]:
    from tunefleet.study.durations import spoken

    took = (
        spoken((trial.finished_at - trial.started_at).total_seconds())
        if trial.finished_at and trial.started_at
        else None
    )
    broken = [f"not {outcome}" for outcome in trial.broken_outcomes]
    text = " ".join(part for part in (trial.failure or "", trial.message, ", ".join(broken)) if part)
    values = (trial.values or [None] * n_objectives) if n_objectives else [trial.value]
    settings = [trial.params.get(name) for name in names]
    return [trial.number, trial.state.value, *values, trial.last_step, *settings, took, one_line(text)]

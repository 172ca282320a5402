"""Commands that read trials: trials, best, lineage, front, folds, logs, export."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from tunefleet.cli import output
from tunefleet.cli.options import LONG_RETRY_S, AsJson, StudyName, Token, TrialNumber, Url, connected, examples

if TYPE_CHECKING:
    from tunefleet.protocol import StudyDetail, TrialView

app = typer.Typer()


class ExportFormat(StrEnum):
    """The formats of `tunefleet export`."""

    CSV = "csv"
    JSON = "json"


@app.command(
    epilog=examples("tunefleet trials digits --sort -value --limit 10", "tunefleet trials digits --state failed")
)
def trials(
    study: StudyName,
    sort: Annotated[
        str,
        typer.Option(
            metavar="KEY", help="number, value, duration, started or a parameter; a leading - puts the largest first."
        ),
    ] = "number",
    state: Annotated[
        str | None,
        typer.Option(
            metavar="STATE", help="Only trials in this state: waiting, running, complete, pruned, failed or cancelled."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="The largest number of trials.")] = 50,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """List the trials of a study."""
    with connected(url, token) as client:
        found = client.study(study).trials(_state_of(state), sort, limit=limit)
        rows, total = list(found), found.total
        has_values = any(trial.values is not None for trial in rows)
        metrics = _metrics(client.study(study).view()) if has_values and not as_json else []
    if as_json:
        output.print_json(rows)
        return
    output.console().print(output.trial_table(rows, metrics=metrics))
    if total > len(rows):
        output.print_message(f"{total - len(rows)} more; see them with --limit {total}")


@app.command(epilog=examples("tunefleet best digits --download model/"))
def best(
    study: StudyName,
    download: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Download the model into this folder.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show the best trial so far, and download its model."""
    from tunefleet.client.study import no_best_error

    with connected(url, token) as client:
        found = client.study(study)
        view = found.view()
        trial = view.best
        if trial is None:
            raise no_best_error(view)
        files = found.download(trial.number, download) if download is not None else []
    if as_json:
        output.print_json({**output.plain(trial), "files": [str(path) for path in files]})
        return
    output.console().print(output.trial_table([trial]))
    for path in files:
        typer.echo(path)


@app.command(epilog=examples("tunefleet lineage digits 57"))
def lineage(
    study: StudyName,
    number: TrialNumber,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show the ancestors of a population's trial.

    Each trial of a population continues from the checkpoint of its parent. The settings along the lineage are a
    schedule.
    """
    with connected(url, token) as client:
        segments = client.study(study).trial(number).lineage
    if as_json:
        output.print_json(segments)
        return
    if not segments:
        output.print_message(f"Trial {number} has no lineage, because study {study} does not train a population.")
        return
    typer.echo(" <- ".join(str(segment.number) for segment in segments))
    names = list(dict.fromkeys(name for segment in segments for name in segment.params))
    columns = ["trial", "member", "from step", "to step", "state", "value", *names]
    rows = [
        [
            *(
                segment.number,
                segment.member,
                segment.first_step,
                segment.last_step,
                segment.state.value,
                segment.value,
            ),
            *(segment.params.get(name) for name in names),
        ]
        for segment in segments
    ]
    output.console().print(output.table(columns, rows))


@app.command(epilog=examples("tunefleet front digits", "tunefleet front digits --json"))
def front(study: StudyName, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Show the Pareto front of a study with several objectives.

    No other trial beats these trials in every objective. Trials that violate an outcome of the study are left out.
    """
    with connected(url, token) as client:
        chosen = client.study(study)
        found = chosen.front()
        metrics = [] if as_json else _metrics(chosen.view())
    if as_json:
        output.print_json(found)
        return
    if not found:
        output.print_message(f"No trial of {study} has a value of each objective and satisfies all outcomes yet.")
        return
    output.console().print(output.trial_table(found, metrics=metrics))


@app.command(epilog=examples("tunefleet folds wine", "tunefleet folds wine --json"))
def folds(study: StudyName, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Show each configuration of a cross-validation with its folds.

    Each row has the mean over the complete folds and its standard error; the best configurations come first.
    """
    with connected(url, token) as client:
        found = client.study(study).configurations()
    if as_json:
        output.print_json(found)
        return
    k = max((len(each.folds) for each in found), default=0)
    rows = [
        [
            each.number,
            each.state.value,
            output.mean_text(each.value, each.standard_error),
            *(output.cell_text(fold.value) if fold.value is not None else fold.state.value for fold in each.folds),
            output.params_text(each.params),
        ]
        for each in found
    ]
    columns = ["configuration", "state", "mean ± s.e.", *(f"fold {fold}" for fold in range(k)), "parameters"]
    output.console().print(output.table(columns, rows))


@app.command(epilog=examples("tunefleet logs digits 3 -f"))
def logs(
    study: StudyName,
    number: TrialNumber,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the trial ends.")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Print a trial's output.

    With --follow, also print its metrics step by step while it runs.
    """
    from tunefleet.cli.trial_log import TrialLog

    with connected(url, token, retry_for_s=LONG_RETRY_S if follow else 3.0) as client:
        log = TrialLog(client.study(study), number, out=sys.stdout)
        has_printed = log.follow() if follow else log.print()
    if not has_printed:
        end = "." if log.is_over else " that the master has received yet."
        output.print_message(f"Trial {number} has printed nothing{end}")


@app.command(
    epilog=examples(
        "tunefleet export digits csv --out digits.csv", "tunefleet export digits json --curves > digits.json"
    )
)
def export(
    study: StudyName,
    form: Annotated[str, typer.Argument(metavar="csv|json", help="The format.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to this file instead of stdout.", show_default=False)
    ] = None,
    curves: Annotated[bool, typer.Option("--curves", help="Include every trial's learning curve.")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Write all trials of a study, one row per trial."""
    chosen = ExportFormat(_chosen("format", form, among=ExportFormat))
    with connected(url, token) as client:
        exported = client.study(study)
        found = list(exported.trials())
        if curves:
            found = [exported.trial(trial.number) for trial in found]
    if out is None:
        _write(found, chosen, sys.stdout)
        return
    with out.open("w", encoding="utf-8", newline="") as file:
        _write(found, chosen, file)
    output.print_message(f"Wrote {len(found)} trials to {out}")


def _write(found: list[TrialView], form: ExportFormat, file: TextIO) -> None:
    import csv
    import json

    from tunefleet.client.trials import columns_of, row_of
    from tunefleet.protocol import TrialDetail

    if form is ExportFormat.JSON:
        json.dump(output.plain(found), file, indent=2, ensure_ascii=False)
        file.write("\n")
        return
    rows = [
        {**row_of(trial), "curve": output.plain(trial.curve)} if isinstance(trial, TrialDetail) else row_of(trial)
        for trial in found
    ]
    writer = csv.DictWriter(file, columns_of(rows), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in row.items()} for row in rows)


def _csv_cell(value: object) -> object:
    """Return a value as a cell: lists, mappings and booleans as JSON text, so that a reader can parse them."""
    import json

    plain = output.plain(value)
    return json.dumps(plain) if isinstance(plain, list | dict | bool) else plain


def _metrics(view: StudyDetail) -> list[str]:
    return [objective.metric for objective in view.objectives]


def _state_of(text: str | None) -> str | None:
    from tunefleet.protocol import TrialState

    return None if text is None else _chosen("--state", text, among=TrialState)


def _chosen(option: str, text: str, *, among: type[StrEnum]) -> str:
    """Return the text when `among` has it. Raises InvalidInput otherwise."""
    from tunefleet.errors import InvalidInput, Problem
    from tunefleet.model import did_you_mean

    known = [each.value for each in among]
    if text not in known:
        what = option.lstrip("-")
        raise InvalidInput([Problem(option, f"there is no such {what}{did_you_mean(text, known)}", repr(text))])
    return text

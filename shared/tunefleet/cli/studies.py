"""Commands that submit, list, show and watch studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunefleet.cli import output, preflight_report
from tunefleet.cli.options import LONG_RETRY_S, AsJson, StudyName, Token, Url, connected, examples

if TYPE_CHECKING:
    from tunefleet.client.study import Study
    from tunefleet.protocol import StudyDetail, StudyView

app = typer.Typer()

StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY.yaml", help="The study's file, YAML or JSON.", show_default=False)
]


@app.command(epilog=examples("tunefleet submit study.yaml --watch"))
def submit(
    file: StudyFile,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the progress until the study is over.")] = False,
    preflight: Annotated[
        bool | None,
        typer.Option(help="Check first that the function can learn at all, or skip it.  [default: as in the file]"),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Submit a study, with its code.

    The command packs and sends the folder that `code` names. Submitting the same file again changes nothing. With
    --watch, the exit code is 1 when the study does not complete.
    """
    from tunefleet.cli.live_progress import watch_study
    from tunefleet.cli.progress import unclaimed_text

    with connected(url, token, retry_for_s=LONG_RETRY_S if watch else 10.0) as client:
        study = client.submit(file, preflight=preflight)
        output.print_message(f"Submitted study {study.name} to {client.url}")
        view = watch_study(study) if watch else study.view()
        if as_json:
            output.print_json(view)
        elif not watch:
            if view.unclaimed:
                output.print_message(f"warning: {unclaimed_text(view)}")
            output.print_message(f"See its progress: tunefleet watch {study.name}")
        if watch and not has_succeeded(view):
            raise typer.Exit(1)


@app.command("ls", epilog=examples("tunefleet ls"))
def list_studies(as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """List all studies, the newest first."""
    with connected(url, token) as client:
        views = client.studies()
    if as_json:
        output.print_json(views)
        return
    if not views:
        output.print_message("There are no studies yet. Submit one: tunefleet submit study.yaml")
        return
    output.console().print(
        output.table(["study", "state", "done", "running", "best", "metric", "sampler", "note"], map(_row, views))
    )


@app.command(epilog=examples("tunefleet show digits", "tunefleet show digits 7"))
def show(
    study: StudyName,
    number: Annotated[
        int | None, typer.Argument(metavar="TRIAL", min=0, help="A trial's number.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show a study with its spec, or one of its trials with findings."""
    if number is not None:
        with connected(url, token) as client:
            _show_trial(client.study(study), number, as_json=as_json)
        return
    with connected(url, token) as client:
        view = client.study(study).view()
    if as_json:
        output.print_json(view)
        return
    import yaml

    out = output.console()
    out.print(output.table(["", ""], _facts(view)), markup=False)
    out.print(yaml.safe_dump(view.spec.to_json(), sort_keys=False), markup=False)


@app.command(epilog=examples("tunefleet watch digits"))
def watch(study: StudyName, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Show a study's progress until it is over.

    The exit code is 1 when the study does not complete.
    """
    from tunefleet.cli.live_progress import watch_study

    with connected(url, token) as client:
        client.study(study)
    with connected(url, token, retry_for_s=LONG_RETRY_S) as client:
        view = watch_study(client.study(study))
    if as_json:
        output.print_json(view)
    if not has_succeeded(view):
        raise typer.Exit(1)


def _show_trial(study: Study, number: int, *, as_json: bool) -> None:
    from tunefleet.cli.apply_findings import show_trial_findings

    trial = study.trial(number)
    if as_json:
        output.print_json({**output.plain(trial), "findings": output.plain(study.trial_findings(number).findings)})
        return
    output.console().print(output.trial_table([trial]))
    if trial.metrics:
        output.console().print(f"At step {trial.best_step}: {output.params_text(trial.metrics)}\n", markup=False)
    show_trial_findings(study, number)


def has_succeeded(view: StudyDetail) -> bool:
    """Return True when the study is complete and at least one trial has a value."""
    from tunefleet.client.study import has_result
    from tunefleet.protocol import StudyState

    return view.state is StudyState.COMPLETE and has_result(view)


def _row(view: StudyView) -> list[object]:
    from tunefleet.cli.progress import n_done, n_running

    of = f"/{view.most_trials}" if view.most_trials else ""
    best = None if view.best is None else view.best.value
    return [
        view.name,
        view.state.value,
        f"{n_done(view)}{of}",
        n_running(view),
        best,
        ", ".join(objective.metric for objective in view.objectives) or view.metric,
        view.sampler,
        output.one_line(view.message or (f"no worker takes its trials: {view.unclaimed}" if view.unclaimed else "")),
    ]


def _facts(view: StudyDetail) -> list[list[object]]:
    from tunefleet.study.durations import spoken

    goals = [f"{objective.goal} {objective.metric}" for objective in view.objectives]
    workers: list[list[object]] = [["workers", f"none takes its trials: {view.unclaimed}"]] if view.unclaimed else []
    return [
        ["study", view.name],
        ["state", f"{view.state.value}{f': {view.message}' if view.message else ''}"],
        ["objectives" if goals else "objective", ", ".join(goals) or f"{view.goal} {view.metric}"],
        ["sampler", f"{view.sampler}{f' ({view.sampler_reason})' if view.sampler_reason else ''}"],
        ["trials", ", ".join(f"{count} {state.value}" for state, count in view.trials.items() if count) or "none yet"],
        ["best", _best(view)],
        ["time", spoken(view.elapsed_s)],
        *_preflight(view),
        *_stages(view),
        *workers,
    ]


def _preflight(view: StudyDetail) -> list[list[object]]:
    """Return rows on the study's preflight, if it has one."""
    if view.preflight is None:
        return []
    rows: list[list[object]] = [["preflight", preflight_report.state_text(view.preflight, view.preflight_report)]]
    if view.preflight_report is not None:
        rows += [["", text] for text in preflight_report.report_lines(view.preflight_report)]
    return rows


def _best(view: StudyDetail) -> str:
    if view.objectives:
        return f"see the Pareto front: tunefleet front {view.name}"
    if view.best is None:
        return output.EMPTY
    return f"{output.best_text(view)}: {output.params_text(view.best.params)}"


def _stages(view: StudyDetail) -> list[list[object]]:
    """Return a row for each stage of a coarse-to-fine plan, with its trials, steps and part of the space."""
    from tunefleet.model import counted
    from tunefleet.study.stages import planned

    begun = {edit.stage: edit for edit in view.edits if edit.stage is not None}
    rows: list[list[object]] = []
    for i, stage in enumerate(planned(view.spec)):
        where = "the whole space" if i == 0 else "not started"
        if i in begun:
            where = "; ".join(begun[i].evidence)
        size = f"{counted(stage.trials, 'trial')} of {counted(stage.steps, 'step')}"
        rows.append([f"stage {i + 1}", f"{size}: {where}"])
    return rows

"""Commands that change a study."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunefleet.cli import output
from tunefleet.cli.options import AsJson, StudyName, Token, Url, connected, examples

if TYPE_CHECKING:
    from tunefleet.protocol import StudyDetail

app = typer.Typer()


@app.command(epilog=examples("tunefleet pause digits"))
def pause(study: StudyName, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Start no more trials of a study; running trials continue."""
    with connected(url, token) as client:
        _print_view(client.study(study).pause(), as_json)


@app.command(epilog=examples("tunefleet resume digits", "tunefleet resume digits --anyway"))
def resume(
    study: StudyName,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Run without the preflight, or in spite of its result.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Continue a paused study, or repeat a blocked one's preflight.

    With --anyway, a blocked study runs in spite of its preflight.
    """
    from tunefleet.cli.progress import n_done
    from tunefleet.protocol import StudyState

    with connected(url, token) as client:
        view = client.study(study).resume(anyway=anyway)
        _print_view(view, as_json)
    if view.state is StudyState.COMPLETE and not as_json:
        more = 2 * max(view.most_trials or 0, n_done(view), 5)
        output.print_message(
            f"The study is complete, so nothing was resumed. More trials: `tunefleet edit {study} --trials {more}`."
        )


@app.command(epilog=examples("tunefleet stop digits"))
def stop(study: StudyName, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """End a study now, and keep its results."""
    with connected(url, token) as client:
        _print_view(client.study(study).stop(), as_json)


@app.command(
    epilog=examples(
        "tunefleet edit digits --trials 200 --priority 5",
        "tunefleet edit digits --set 'lr={log: [1e-5, 1]}' --set 'optimizer=[sgd, adam, adamw]'",
        "tunefleet edit digits --set 'batch_size={fixed: 64}'",
    )
)
def edit(
    study: StudyName,
    trials: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The new budget of trials.", show_default=False)
    ] = None,
    hours: Annotated[
        float | None, typer.Option(metavar="HOURS", help="The new budget of hours.", show_default=False)
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(metavar="N", help="The new priority; trials of higher priority run first.", show_default=False),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=PARAMETER",
            help="A new range, new choices or a fixed value for a parameter; repeatable.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Change a study's budget, priority or space while it runs.

    Options left out change nothing. A changed space is a new version: finished trials stay, and samplers learn from
    those inside the new space.
    """
    from tunefleet.errors import InvalidInput, Problem

    if trials is None and hours is None and priority is None and not parameters:
        raise InvalidInput([Problem("edit", "name at least one of --trials, --hours, --priority and --set")])
    space = dict(_assignment(text) for text in parameters) if parameters else None
    with connected(url, token) as client:
        _print_view(client.study(study).edit(trials=trials, hours=hours, priority=priority, space=space), as_json)


@app.command(epilog=examples("tunefleet retry digits --failed", "tunefleet retry digits --failure out_of_memory"))
def retry(
    study: StudyName,
    failed: Annotated[bool, typer.Option("--failed", help="Run all failed trials again.")] = False,
    failure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", help="Run trials with this failure again: lost, error, …; repeatable.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Run failed trials of a study again."""
    from tunefleet.errors import InvalidInput, Problem
    from tunefleet.model import did_you_mean
    from tunefleet.protocol import Failure

    known = [kind.value for kind in Failure]
    if wrong := [kind for kind in failure or [] if kind not in known]:
        raise InvalidInput([Problem("--failure", f"there is no such failure{did_you_mean(wrong[0], known)}", wrong[0])])
    if not failed and not failure:
        raise InvalidInput([Problem("retry", "choose the trials: --failed for all of them, or --failure KIND")])
    with connected(url, token) as client:
        numbers = client.study(study).retry(*(failure or []))
    if as_json:
        output.print_json({"numbers": numbers})
    elif numbers:
        output.print_message(f"Trials {', '.join(map(str, numbers))} will run again.")
    else:
        output.print_message("No trial of the study has failed in this way.")


@app.command(epilog=examples("tunefleet add digits lr=0.1 optimizer=sgd"))
def add(
    study: StudyName,
    params: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE", help="Each parameter of the configuration.", show_default=False),
    ],
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Queue a configuration of your own, before the sampler's."""
    configuration = dict(_assignment(text) for text in params)
    with connected(url, token) as client:
        trial = client.study(study).add(**configuration)
    if as_json:
        output.print_json(trial)
    else:
        output.print_message(f"Queued trial {trial.number}: {output.params_text(trial.params)}")


@app.command("rm", epilog=examples("tunefleet stop digits && tunefleet rm digits --yes"))
def remove(
    study: StudyName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Delete a study that does not run, with its trials and files."""
    with connected(url, token) as client:
        found = client.study(study)
        if not yes and sys.stdin.isatty():
            typer.confirm(f"Delete {study} with all its trials and models?", abort=True, err=True)
        found.delete()
    output.print_message(f"Deleted study {study}.")


def _print_view(view: StudyDetail, as_json: bool) -> None:
    from tunefleet.cli.progress import line

    if as_json:
        output.print_json(view)
    else:
        output.print_message(line(view))


def _assignment(text: str) -> tuple[str, Any]:
    """Split `lr=1e-3` into a name and a value in the syntax of a study's file."""
    import yaml

    from tunefleet.errors import InvalidInput, Problem
    from tunefleet.study.yaml import load

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput([Problem(text, "must be written NAME=VALUE, such as lr=0.1")])
    try:
        return name, load(value)[0]
    except yaml.YAMLError as error:
        raise InvalidInput([Problem(name, "has a value that is not valid YAML; put texts in quotes", value)]) from error

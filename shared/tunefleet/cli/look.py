"""`tunefleet look`: samples that models predict right and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunefleet.cli import output
from tunefleet.cli.options import AsJson, StudyName, Token, Url, connected, examples

if TYPE_CHECKING:
    from tunefleet.protocol.looks import Disagreement, Example, LabelLook, StudyLook, TrialLook

app = typer.Typer()


@app.command(
    epilog=examples("tunefleet look digits 57", "tunefleet look digits", "tunefleet look digits --labels --count 20")
)
def look(
    study: StudyName,
    number: Annotated[
        int | None, typer.Argument(metavar="TRIAL", min=0, help="Only this trial's model.", show_default=False)
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Show samples with suspicious labels instead.")] = False,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, max=500, help="The largest number of suspicious labels.")
    ] = 50,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File for the picture, as SVG.", show_default="look-STUDY.svg"),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show samples that models predict right and wrong.

    With TRIAL, the command shows one trial's predictions; without it, it compares the study's best trials. It saves
    the samples' pictures as an SVG file, which any browser shows; with --json only if --out is given.
    """
    from tunefleet.errors import InvalidInput, Problem
    from tunefleet.figures.contact_sheets import label_sheet, study_sheet, trial_sheet

    if labels and number is not None:
        raise InvalidInput([Problem("--labels", "applies to a whole study; leave TRIAL out")])
    with connected(url, token) as client:
        chosen = client.study(study)
        found: LabelLook | TrialLook | StudyLook
        if labels:
            found = chosen.label_errors(count=count)
            tables, svg, name = _label_tables(found), label_sheet(found), f"look-{study}-labels.svg"
        elif number is not None:
            found = chosen.look_at(number)
            tables, svg, name = trial_tables(found), trial_sheet(found), f"look-{study}-{number}.svg"
        else:
            found = chosen.look()
            tables, svg, name = _study_tables(found), study_sheet(found), f"look-{study}.svg"
    if as_json:
        output.print_json(found)
    else:
        _print(tables)
    if out is not None or not as_json:
        _save_picture(svg, out or Path(name))


def _print(tables: Sequence[object]) -> None:
    console = output.console()
    for each in tables:
        console.print(each, markup=False)  # names from a worker may look like markup


def _save_picture(svg: str, path: Path) -> None:
    from tunefleet.errors import InvalidInput, Problem

    try:
        path.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise InvalidInput([Problem("--out", f"cannot be written: {error.strerror}", str(path))]) from error
    output.print_message(f"Saved the picture to {path}")


def trial_tables(found: TrialLook) -> list[object]:
    """Return a summary and a table of the samples that a trial's model predicts right and wrong."""
    summary = (
        f"The model of the trial's {found.model} step is wrong about {found.n_wrong} of {found.n_samples} samples."
    )
    rows = [
        *_example_rows("confidently wrong", found.confidently_wrong),
        *_example_rows("worst", found.worst),
        *_example_rows("best", found.best),
    ]
    return [summary, output.table(["", "sample", "label", "predicted", "confidence", "P(label)"], rows)]


def _example_rows(kind: str, examples: Sequence[Example]) -> list[list[object]]:
    return [[kind, str(it.id), it.label, it.predicted, it.confidence, it.of_label] for it in examples]


def _study_tables(found: StudyLook) -> list[object]:
    if len(found.trials) < 2:
        summary = f"Only trial {found.trials[0]} has comparable predictions, so there is nothing to compare."
        return [summary, *found.left_out]
    numbers = ", ".join(map(str, found.trials))
    summary = f"Comparison of {found.n_samples} samples across the trials {numbers}, the best first."
    columns = ["", "sample", "label", *(f"#{number}" for number in found.trials)]
    rows = [
        *_disagreement_rows("best is wrong", found.best_wrong),
        *_disagreement_rows("best is right", found.best_right),
        *_disagreement_rows("all are wrong", found.all_wrong),
    ]
    nothing = "No sample that the best trial predicts unlike the others, or that all predict wrong."
    return [summary, *found.left_out, output.table(columns, rows) if rows else nothing]


def _disagreement_rows(kind: str, disagreements: Sequence[Disagreement]) -> list[list[object]]:
    return [
        [
            kind,
            str(it.id),
            it.label,
            *(f"{opinion.predicted}{'' if opinion.is_right else ' ✗'}" for opinion in it.opinions),
        ]
        for it in disagreements
    ]


def _label_tables(found: LabelLook) -> list[object]:
    summary = (
        f"{found.n_suspected} of {found.n_samples} labels are suspicious, judged by {len(found.trials)} trials that "
        f"were not trained on them. An estimated {found.rate:.1%} of the labels are wrong."
    )
    if found.issues and not found.n_suspected:
        summary += " The least certain labels:"
    columns = ["sample", "label", "suggested", "margin", "suspicious", "trials"]
    rows = [
        [str(it.id), it.label, it.suggested, it.margin, "yes" if it.is_suspected else "", it.n_opinions]
        for it in found.issues
    ]
    return [summary, *found.left_out, output.table(columns, rows)]

"""`tunefleet look`: what models get right and wrong, sample by sample."""

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
        int | None, typer.Argument(metavar="TRIAL", min=0, help="Of this trial alone.", show_default=False)
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Samples whose labels may be wrong.")] = False,
    count: Annotated[int, typer.Option(min=1, max=500, help="So many suspicious labels.")] = 50,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Save the picture here, as SVG.", show_default="look-STUDY.svg"),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Look at what a trial's model is right and wrong about, or at the same samples across a study's best trials.

    The samples with their pictures are saved as an SVG file, which any browser shows; with --json only when --out says
    where to.
    """
    from tunefleet.errors import InvalidInput, Problem
    from tunefleet.figures.contact_sheets import label_sheet, study_sheet, trial_sheet

    if labels and number is not None:
        raise InvalidInput([Problem("--labels", "is about a study; leave the trial out")])
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
        console.print(each, markup=False)  # what a worker has named is no markup


def _save_picture(svg: str, path: Path) -> None:
    from tunefleet.errors import InvalidInput, Problem

    try:
        path.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise InvalidInput([Problem("--out", f"cannot be written: {error.strerror}", str(path))]) from error
    output.print_message(f"The picture is in {path}")


def trial_tables(found: TrialLook) -> list[object]:
    """What a trial's model gets wrong, as the terminal shows it."""
    summary = f"{found.n_wrong} of {found.n_samples} samples are wrong, by the model of the trial's {found.model} step."
    rows = [
        *_example_rows("confidently wrong", found.confidently_wrong),
        *_example_rows("worst", found.worst),
        *_example_rows("best", found.best),
    ]
    return [summary, output.table(["", "sample", "label", "predicted", "confidence", "of the label"], rows)]


def _example_rows(kind: str, examples: Sequence[Example]) -> list[list[object]]:
    return [[kind, str(it.id), it.label, it.predicted, it.confidence, it.of_label] for it in examples]


def _study_tables(found: StudyLook) -> list[object]:
    if len(found.trials) < 2:
        summary = f"Only trial {found.trials[0]} has predictions that can be compared; there is nothing to compare."
        return [summary, *found.left_out]
    numbers = ", ".join(map(str, found.trials))
    summary = f"{found.n_samples} samples across the trials {numbers}, the best one first."
    columns = ["", "sample", "label", *(f"#{number}" for number in found.trials)]
    rows = [
        *_disagreement_rows("best is wrong", found.best_wrong),
        *_disagreement_rows("best is right", found.best_right),
        *_disagreement_rows("all are wrong", found.all_wrong),
    ]
    nothing = "No sample stands out." if not rows else ""
    return [summary, *found.left_out, nothing or output.table(columns, rows)]


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
        f"{found.n_suspected} of {found.n_samples} labels are suspected, by {len(found.trials)} trials that were not "
        f"trained on them; {found.rate:.1%} are estimated to be wrong."
    )
    if found.issues and not found.n_suspected:
        summary += " Those that come nearest:"
    columns = ["sample", "label", "rather", "margin", "suspected", "asked"]
    rows = [
        [str(it.id), it.label, it.suggested, it.margin, "yes" if it.is_suspected else "", it.n_opinions]
        for it in found.issues
    ]
    return [summary, *found.left_out, output.table(columns, rows)]

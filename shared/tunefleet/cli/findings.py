"""`tunefleet findings`: a study's findings, with a remedy for each."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import typer

from tunefleet.cli import output
from tunefleet.cli.options import AsJson, StudyName, Token, Url, WaitForFindings, connected, examples

if TYPE_CHECKING:
    from pydantic import JsonValue

    from tunefleet.client.study import Study
    from tunefleet.protocol import StudyState
    from tunefleet.protocol.findings import FindingView, ImportanceView, StudyFindings

app = typer.Typer()

SILENT_S = 3.0  # a longer wait is announced


@app.command(epilog=examples("tunefleet findings digits"))
def findings(
    study: StudyName,
    wait: WaitForFindings = 120.0,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show a study's findings, parameter importance and gain.

    Each finding names a problem, a remedy and its evidence. The gain is the improvement that further trials promise.
    """
    with connected(url, token) as client:
        show_findings(client.study(study), wait_s=wait, as_json=as_json)


def show_findings(study: Study, *, wait_s: float, as_json: bool) -> None:
    """Print the findings on a study."""
    found = fetch_findings(study, wait_s=wait_s)
    if as_json:
        output.print_json(found)
        return
    state = study.view().state
    if found.n_ended:
        output.print_message(_basis(found))
    out = output.console()
    for line in _lines(found, state):
        out.print(line, markup=False)
    if found.importance is not None:
        out.print()
        out.print(_importance_table(found.importance))


def fetch_findings(study: Study, *, wait_s: float) -> StudyFindings:
    """Return the findings on a study; print a message when the wait exceeds SILENT_S."""
    found = study.findings(timeout_s=min(SILENT_S, wait_s))
    if not found.renewing or wait_s <= SILENT_S:
        return found
    output.print_message(f"Analysing the newest trials; waiting for at most {wait_s:g} s (--wait) ...")
    return study.findings(timeout_s=wait_s - SILENT_S)


def finding_lines(finding: FindingView, *, edit: str | None = None) -> Iterator[str]:
    """Yield a finding with its remedy, numbers and source; `edit` is the command that applies its edit."""
    yield f"{finding.severity}: {finding.sentence} ({finding.code})"
    yield f"  do:       {finding.remedy}"
    if edit is not None:
        yield f"  edit:     {edit}"
    yield f"  evidence: {output.params_text(dict(_numbers(finding.evidence)))}"
    yield f"  source:   {finding.source}"
    yield ""


def _basis(found: StudyFindings) -> str:
    """Return the number of trials that the findings use."""
    newer = f"; {found.n_newer} more have ended since" if found.n_newer else ""
    renewing = "; newer findings are being computed" if found.renewing else ""
    return f"After {found.n_ended} trials{newer}{renewing}:"


def _lines(found: StudyFindings, state: StudyState) -> Iterator[str]:
    for finding in found.findings:
        edit = None if finding.edit is None else _edit(found.study, finding.edit, state)
        yield from finding_lines(finding, edit=edit)
    if not found.findings and found.n_ended:
        yield "No problem found."
    if found.gain is not None:
        yield f"gain: {found.gain.sentence} The best value so far is {output.cell_text(found.gain.best)}."
    yield from (f"unknown: {sentence}" for sentence in found.unknown)


def _numbers(evidence: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    """Yield each number with its name; for numbers of one parameter, the name is `NAME.PARAMETER`."""
    for name, value in evidence.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{parameter}", each) for parameter, each in value.items())
        else:
            yield name, value


def _edit(study: str, edit: Mapping[str, JsonValue], state: StudyState) -> str:
    """Return the command that applies the edit; for a stopped study, the text for the next study's file."""
    from tunefleet.protocol import StudyState

    changes = {name: yaml_on_one_line(parameter) for name, parameter in edit.items()}
    if state is StudyState.STOPPED:
        return "in the space of the next study, " + ", ".join(f"{name}: {written}" for name, written in changes.items())
    options = " ".join(f"--set {shlex.quote(f'{name}={written}')}" for name, written in changes.items())
    return f"tunefleet edit {study} {options}"


def yaml_on_one_line(parameter: JsonValue) -> str:
    """Return a parameter as YAML on one line."""
    import yaml

    return str(yaml.safe_dump(parameter, default_flow_style=True, sort_keys=False, width=float("inf"))).strip()


def _importance_table(importance: ImportanceView) -> object:
    """Return the importance of parameters and pairs as a table of percentages."""
    rows: list[list[object]] = [
        [effect.parameter, _percent(effect.share), f"± {_percent(effect.spread)}", _percent(effect.total)]
        for effect in importance.effects
    ]
    rows += [
        [" and ".join(pair.parameters), _percent(pair.share), f"± {_percent(pair.spread)}", ""]
        for pair in importance.pairs
        if round(pair.share, 3) > 0
    ]
    rows.append(["noise and other interactions", _percent(importance.rest), "", ""])
    title = f"Importance: shares of the variance of {importance.n_trials} trials' results"
    return output.table(["parameter", "alone", "spread", "with interactions"], rows, title=title)


def _percent(share: float) -> str:
    return f"{share:.1%}"

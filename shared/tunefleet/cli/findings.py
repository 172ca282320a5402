"""`tunefleet findings`: what a study shows, and what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from tunefleet.cli import output
from tunefleet.cli.options import AsJson, StudyName, Token, Url, connected, examples

if TYPE_CHECKING:
    from pydantic import JsonValue

    from tunefleet.client.study import Study
    from tunefleet.protocol import StudyState
    from tunefleet.protocol.findings import FindingView, ImportanceView, StudyFindings

app = typer.Typer()

SILENT_S = 3.0  # that nobody wonders what is going on


@app.command(epilog=examples("tunefleet findings digits"))
def findings(
    study: StudyName,
    wait: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Wait so long for the newest answer.")] = 120.0,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show what a study has found out: what is wrong with it, which parameters matter, whether it is worth going on."""
    with connected(url, token) as client:
        show_findings(client.study(study), wait_s=wait, as_json=as_json)


def show_findings(study: Study, *, wait_s: float, as_json: bool) -> None:
    """Print what a study shows."""
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
    """What a study shows; says that it takes a while when it does."""
    found = study.findings(timeout_s=min(SILENT_S, wait_s))
    if not found.renewing or wait_s <= SILENT_S:
        return found
    output.print_message(f"The newest trials are being looked at; waiting for at most {wait_s:g} s (--wait) ...")
    return study.findings(timeout_s=wait_s - SILENT_S)


def finding_lines(finding: FindingView, *, edit: str | None = None) -> Iterator[str]:
    """A finding with what to do, its numbers and its source; `edit` is the command that makes its edit."""
    yield f"{finding.severity}: {finding.sentence} ({finding.code})"
    yield f"  do:       {finding.remedy}"
    if edit is not None:
        yield f"  edit:     {edit}"
    yield f"  evidence: {output.params_text(dict(_numbers(finding.evidence)))}"
    yield f"  source:   {finding.source}"
    yield ""


def _basis(found: StudyFindings) -> str:
    """Which trials the answer is about."""
    newer = f"; {found.n_newer} more have ended since" if found.n_newer else ""
    renewing = "; a newer answer is being worked out" if found.renewing else ""
    return f"After {found.n_ended} trials{newer}{renewing}:"


def _lines(found: StudyFindings, state: StudyState) -> Iterator[str]:
    for finding in found.findings:
        edit = None if finding.edit is None else _edit(found.study, finding.edit, state)
        yield from finding_lines(finding, edit=edit)
    if not found.findings and found.n_ended:
        yield "Nothing is found to be wrong."
    if found.gain is not None:
        yield f"gain: {found.gain.sentence} The best value so far is {output.cell_text(found.gain.best)}."
    yield from (f"unknown: {sentence}" for sentence in found.unknown)


def _numbers(evidence: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    """Each number by its name; those of one parameter each by both names."""
    for name, value in evidence.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{parameter}", each) for parameter, each in value.items())
        else:
            yield name, value


def _edit(study: str, edit: Mapping[str, JsonValue], state: StudyState) -> str:
    """The command that makes the edit; what to write into the next study's file where this one was stopped."""
    from tunefleet.protocol import StudyState

    changes = {name: yaml_on_one_line(parameter) for name, parameter in edit.items()}
    if state is StudyState.STOPPED:
        return "in the next study's space, " + ", ".join(f"{name}: {written}" for name, written in changes.items())
    options = " ".join(f"--set {shlex.quote(f'{name}={written}')}" for name, written in changes.items())
    return f"tunefleet edit {study} {options}"


def yaml_on_one_line(parameter: JsonValue) -> str:
    """A parameter as YAML on one line."""
    import yaml

    return str(yaml.safe_dump(parameter, default_flow_style=True, sort_keys=False, width=float("inf"))).strip()


def _importance_table(importance: ImportanceView) -> object:
    """Shares as percentages."""
    rows: list[list[object]] = [
        [effect.parameter, _percent(effect.share), f"± {_percent(effect.spread)}", _percent(effect.total)]
        for effect in importance.effects
    ]
    rows += [
        [" and ".join(pair.parameters), _percent(pair.share), f"± {_percent(pair.spread)}", ""]
        for pair in importance.pairs
        if round(pair.share, 3) > 0
    ]
    rows.append(["all the rest", _percent(importance.rest), "", ""])
    title = f"What {importance.n_trials} trials differ by"
    return output.table(["parameter", "alone", "spread", "with others"], rows, title=title)


def _percent(share: float) -> str:
    return f"{share:.1%}"

"""`tunefleet doctor STUDY`: print a study's findings, and apply the edits that they propose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunefleet.cli import output
from tunefleet.cli.findings import fetch_findings, finding_lines, show_findings, yaml_on_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from tunefleet.client.study import Study
    from tunefleet.protocol.findings import FindingView


def show_or_apply(study: Study, *, apply: str | None, trial: int | None, wait_s: float, as_json: bool) -> None:
    """Print the findings on a study or a trial, or apply the edits of the findings with the code `apply`.

    Raises:
        InvalidInput: no finding has the code, or its findings propose no edit; or both options are given.
        NotFound: there is no such trial.
        Conflict: the study cannot be edited in this way now.
    """
    if trial is not None and apply is not None:
        from tunefleet.errors import InvalidInput, Problem

        raise InvalidInput([Problem("--apply", "applies to the findings on the study; leave --trial out")])
    if trial is not None:
        show_trial_findings(study, trial, as_json=as_json)
    elif apply is not None:
        apply_edits(study, apply, wait_s=wait_s, as_json=as_json)
    else:
        show_findings(study, wait_s=wait_s, as_json=as_json)


def show_trial_findings(study: Study, number: int, *, as_json: bool = False) -> None:
    """Print the findings on a trial's curves."""
    found = study.trial_findings(number)
    if as_json:
        output.print_json(found)
        return
    out = output.console()
    for finding in found.findings:
        for line in finding_lines(finding):
            out.print(line, markup=False)
    if not found.findings and not found.unknown:
        out.print("No problem found.")
    for sentence in found.unknown:
        out.print(f"unknown: {sentence}", markup=False)


def apply_edits(study: Study, code: str, *, wait_s: float, as_json: bool) -> None:
    """Apply the edits of the findings with a code, in one change of the space."""
    from tunefleet.cli.progress import line
    from tunefleet.protocol import StudyState

    edit, skipped = proposed_edits(fetch_findings(study, wait_s=wait_s).findings, code)
    view = study.edit(space=edit)
    if as_json:
        output.print_json(view)
        return
    for name, parameter in edit.items():
        output.print_message(f"{name} is now {yaml_on_one_line(parameter)}")
    for name in skipped:
        output.print_message(
            f"A further edit of {name} was not applied; repeat the command once trials of the new space have ended."
        )
    output.print_message(line(view))
    if view.state is StudyState.COMPLETE:
        output.print_message(
            f"The study is complete. Add trials for the new space: tunefleet edit {view.name} --trials N"
        )


def proposed_edits(findings: Sequence[FindingView], code: str) -> tuple[dict[str, JsonValue], list[str]]:
    """Return the edits of all findings with a code, and the parameters with a further edit, which is left out.

    Raises:
        InvalidInput: no finding has the code, or its findings propose no edit.
    """
    from tunefleet.errors import InvalidInput, Problem
    from tunefleet.model import did_you_mean

    having = [finding for finding in findings if finding.code == code]
    if not having:
        codes = list(dict.fromkeys(finding.code for finding in findings if finding.edit is not None))
        hint = f"Findings with an edit: {', '.join(codes)}." if codes else "No finding of the study proposes an edit."
        problem = Problem(
            "--apply", f"the study has no such finding{did_you_mean(code, codes) if codes else ''}", repr(code)
        )
        raise InvalidInput([problem], hint=hint)
    edit: dict[str, JsonValue] = {}
    skipped: list[str] = []
    for finding in having:
        for name, parameter in (finding.edit or {}).items():
            if name in edit:
                skipped.append(name)
            else:
                edit[name] = parameter
    if not edit:
        problem = Problem("--apply", "this finding proposes no edit of the space", repr(code))
        raise InvalidInput([problem], hint=f"{having[0].sentence} {having[0].remedy}")
    return edit, list(dict.fromkeys(skipped))

"""The keys that each pruner reads, and rules for pruning."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.catalogue.pruners import NO_PRUNER, PRUNERS, keys_of
from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.study.spec import CommandRun, Pruning, StudySpec
from tunefleet.study.stages import longest


def pruning_problems(spec: StudySpec) -> Iterator[Problem]:
    """Yield the problems of the study's `pruning`."""
    pruning = spec.pruning
    yield from _unread_keys(pruning)
    traits = PRUNERS.get(pruning.pruner)
    if traits is not None and traits.has_rungs:
        yield from _rung_problems(spec)
    if traits is not None and traits.can_promote:
        yield from _mode_problems(spec)
    read = keys_of(pruning.pruner)
    if "patience" in read:
        yield from _patience_problems(spec)
    if "lower" in read and "upper" in read:
        yield from _bound_problems(pruning)
    yield from _first_step_problems(spec)


def _unread_keys(pruning: Pruning) -> Iterator[Problem]:
    for key in Pruning.model_fields:  # in the order of the grammar
        if key not in pruning.model_fields_set or key in ("pruner", *keys_of(pruning.pruner)):
            continue
        readers = ", ".join(name for name, each in PRUNERS.items() if key in each.reads)
        rule = f"is read by {readers} only, but the pruner is {pruning.pruner}; leave it out, or set another pruner"
        yield Problem(f"pruning.{key}", rule, shown(getattr(pruning, key)))


def _rung_problems(spec: StudySpec) -> Iterator[Problem]:
    pruning, steps = spec.pruning, longest(spec)
    if pruning.max is None:
        if steps is None:
            yield _needs_steps(pruning)
        return
    if steps is not None and pruning.max > steps:
        rule = f"is above the {steps} steps that a trial runs; set it to at most {steps}, or leave it out"
        yield Problem("pruning.max", rule, shown(pruning.max))
    if pruning.min >= pruning.max:
        rule = f"must be below `max`, which is {pruning.max}; otherwise there is no second rung"
        yield Problem("pruning.min", rule, shown(pruning.min))


def _needs_steps(pruning: Pruning) -> Problem:
    rule = f"is required by the pruner {pruning.pruner}, which spaces its rungs between `pruning.min` and the last step"
    return Problem("steps", f"{rule}; set the steps of a full trial, such as `steps: 27`")


def _mode_problems(spec: StudySpec) -> Iterator[Problem]:
    if spec.pruning.mode == "promote" and isinstance(spec.run, CommandRun):
        rule = (
            "a promoted trial continues from its checkpoint, but a command has no checkpoint and would run its first "
            "steps again; set `mode: stop`, or run a function"
        )
        yield Problem("pruning.mode", rule, shown("promote"))


def _patience_problems(spec: StudySpec) -> Iterator[Problem]:
    patience, steps = spec.pruning.patience, longest(spec)
    if patience is None:
        yield Problem("pruning.patience", "is required: the steps without improvement after which a trial is stopped")
    elif steps is not None and patience >= steps:
        rule = f"must be below the {steps} steps that a trial runs; otherwise it never stops a trial"
        yield Problem("pruning.patience", rule, shown(patience))


def _bound_problems(pruning: Pruning) -> Iterator[Problem]:
    if pruning.lower is None and pruning.upper is None:
        rule = (
            "threshold needs `lower`, `upper` or both: the values of the objective's metric at which a trial is stopped"
        )
        yield Problem("pruning", rule)
    elif pruning.lower is not None and pruning.upper is not None and pruning.lower >= pruning.upper:
        rule = f"must be below `upper`, which is {pruning.upper:g}; otherwise every trial is stopped"
        yield Problem("pruning.lower", rule, shown(pruning.lower))


def _first_step_problems(spec: StudySpec) -> Iterator[Problem]:
    """Check `min`; `_rung_problems` checks it against `max` if that is given."""
    pruning, steps = spec.pruning, longest(spec)
    if pruning.pruner != NO_PRUNER and pruning.max is None and steps is not None and pruning.min >= steps:
        rule = f"must be below the {steps} steps that a trial runs; otherwise no trial is ever stopped"
        yield Problem("pruning.min", rule, shown(pruning.min))

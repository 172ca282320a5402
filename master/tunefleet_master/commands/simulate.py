"""`tunefleet simulate`: a study run again on a table of its finished trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunefleet.catalogue.pruners import NO_PRUNER, PRUNER_NAMES, keys_of
from tunefleet.catalogue.samplers import AUTO
from tunefleet.cli import output
from tunefleet.client.study_file import read_study
from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import did_you_mean
from tunefleet.rules.review import review
from tunefleet.study.durations import spoken
from tunefleet.study.spec import StudySpec
from tunefleet_master.search import registry
from tunefleet_master.simulation import comparison, exported_trials
from tunefleet_master.simulation.comparison import ComparisonResult
from tunefleet_master.simulation.exported_trials import ExportedTrials


@dataclass(frozen=True, slots=True)
class Simulation:
    """Inputs of a simulation: the study's variants and the table.

    Attributes:
        specs: the study with each sampler and pruner.
        table: the table of its finished trials.
        n_trials: the number of trials that each variant runs.
    """

    specs: Sequence[StudySpec]
    table: ExportedTrials
    n_trials: int


def prepare(study: Path, table: Path, *, samplers: Sequence[str], pruners: Sequence[str]) -> Simulation:
    """Read the files and combine samplers and pruners: the named ones, or the study's own and random search.

    The study's budget is limited to the number of trials in the table.

    Raises:
        InvalidInput: a file cannot be used, a sampler or pruner does not exist, or one cannot run this study.
    """
    spec = read_study(study).spec
    if spec.several_objectives:
        rule = "cannot be simulated: searches are compared by one value; name one of them as `objective`"
        raise InvalidInput([Problem("objectives", rule)])
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput([Problem(exported_trials.FIELD, f"cannot be read: {error}")]) from error
    known = exported_trials.read(text, spec)
    for option, names, every in (
        ("--sampler", samplers, (AUTO, *registry.names())),
        ("--pruner", pruners, PRUNER_NAMES),
    ):
        for name in names:
            _check(option, name, every)
    _refuse_populations(samplers or [spec.search.sampler])
    named = samplers or list(dict.fromkeys([spec.search.sampler, "random"]))
    stopping = pruners or list(dict.fromkeys([spec.pruning.pruner, NO_PRUNER]))
    specs = [_variant(spec, sampler, pruner) for sampler in named for pruner in _usable(stopping, known, pruners)]
    n_rows = len(known.table.trainings)
    return Simulation(specs, known, min(spec.budget.trials or n_rows, n_rows))


def show(simulation: Simulation, *, n_workers: int, n_seeds: int, as_json: bool) -> None:
    """Simulate, and print the results, fastest first."""
    spec, table = simulation.specs[0], simulation.table
    if spec.stages:
        output.print_message(
            "The study's stages are not simulated: every trial comes from the whole space and runs in full."
        )
    for reason, n in table.left_out.items():
        output.print_message(f"{n} trials left out: {reason}")
    findings = list(
        comparison.compare(simulation.specs, table, n_workers=n_workers, n_seeds=n_seeds, n_trials=simulation.n_trials)
    )
    findings.sort(key=lambda finding: (-finding.n_good, finding.s_to_good or 0.0))
    good = comparison.good_value(table, spec)
    if as_json:
        facts = {"table_trials": len(table.table.trainings), "trials": simulation.n_trials, "workers": n_workers}
        output.print_json({**facts, "seeds": n_seeds, "good": good, "findings": [asdict(each) for each in findings]})
        return
    columns = ["sampler", "pruner", "best", f"5 % in {n_seeds} seeds", "after trials", "after", "work"]
    output.console().print(output.table(columns, [_row(finding) for finding in findings]))
    output.print_message(
        f"{simulation.n_trials} trials on {n_workers} workers, medians over {n_seeds} seeds; `5 %`: a value as good as "
        f"{output.cell_text(good)}, which the best 5 % of the table's trials reach. Times are those of the table."
    )


def _row(finding: ComparisonResult) -> list[object]:
    after = None if finding.s_to_good is None else spoken(finding.s_to_good)
    trials = finding.trials_to_good
    return [finding.sampler, finding.pruner, finding.best, finding.n_good, trials, after, spoken(finding.work_s)]


def _usable(stopping: Sequence[str], known: ExportedTrials, asked: Sequence[str]) -> Sequence[str]:
    """The pruners that the table supports; raises InvalidInput if one of `asked` is not among them."""
    if known.has_curves:
        return stopping
    if any(pruner != NO_PRUNER for pruner in asked):
        rule = (
            "has no learning curves, on which a pruner decides; export them with "
            "`tunefleet export STUDY json --curves`, or leave --pruner out"
        )
        raise InvalidInput([Problem(exported_trials.FIELD, rule)])
    return [NO_PRUNER]


def _variant(spec: StudySpec, sampler: str, pruner: str) -> StudySpec:
    """The study with another sampler and pruner; keys of its own pruner stay where they apply."""
    plain: dict[str, Any] = spec.to_json()
    written = spec.pruning.model_dump(exclude_unset=True)
    pruning = {name: value for name, value in written.items() if name in keys_of(pruner)}
    search = {"seed": spec.search.seed, "sampler": sampler}
    variant = StudySpec.parse({**plain, "search": search, "pruning": {**pruning, "pruner": pruner}})
    if problems := review(variant).problems:
        raise InvalidInput(list(problems))
    return variant


def _refuse_populations(samplers: Sequence[str]) -> None:
    for name in samplers:
        if name in registry.populations():
            rule = (
                "is not simulated: its trials continue from each other's checkpoints, which a table does not have; "
                "name other samplers, such as --sampler tpe"
            )
            raise InvalidInput([Problem("--sampler", rule, repr(name))])


def _check(option: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        rule = f"there is no such {option.lstrip('-')} to simulate{did_you_mean(name, list(known))}"
        raise InvalidInput([Problem(option, rule, repr(name))])

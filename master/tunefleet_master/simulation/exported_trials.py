"""A user's own finished trials as a table, from the output of `tunefleet export`.

A trial can be simulated if it is complete, or if it failed because its configuration is infeasible. A trial that was
stopped early cannot: its end is unknown.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import shown
from tunefleet.study.parameters import Parameter
from tunefleet.study.space import Configuration
from tunefleet.study.spec import StudySpec
from tunefleet_master.simulation.table import Table
from tunefleet_master.simulation.training_run import TrainingRun

FIELD = "--table"
MIN_ROWS = 10  # with fewer, the nearest row does not predict a configuration
MIN_S = 1e-3  # the shortest duration of a trial
INFEASIBLE = ("out_of_memory", "diverged", "infeasible")

Row = dict[str, Any]
"""A trial as in the JSON export: `state`, `value`, `params`, …"""


@dataclass(frozen=True, slots=True)
class ExportedTrials:
    """Trials that can be simulated.

    Attributes:
        table: their configurations and training runs.
        values: of the complete ones, in the user's own sense.
        has_curves: True if every run has a learning curve, which a pruner needs.
        left_out: the number of other trials, by the reason for which they were left out.
    """

    table: Table
    values: Sequence[float]
    has_curves: bool
    left_out: Mapping[str, int]


def parse_rows(text: str) -> list[Row]:
    """Parse the trials of an exported file in either format.

    Raises InvalidInput for any other format.
    """
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise InvalidInput([Problem(FIELD, f"is not valid JSON: {error}")]) from error
        if all(isinstance(row, dict) and isinstance(row.get("params"), dict) for row in rows):
            return list(rows)
    else:
        reader = csv.DictReader(io.StringIO(text))
        if {"state", "value"} <= set(reader.fieldnames or ()):
            return [_from_csv(row) for row in reader]
    rule = "must be the output of `tunefleet export STUDY csv` or `json`, with one trial per row"
    raise InvalidInput([Problem(FIELD, rule)])


def read(text: str, spec: StudySpec) -> ExportedTrials:
    """Read the table of an exported file for a study.

    Raises:
        InvalidInput: the format is unknown, or too few of the trials can be used; the problem gives the reasons.
    """
    left_out: Counter[str] = Counter()
    usable: list[tuple[Configuration, TrainingRun]] = []
    for row in parse_rows(text):
        try:
            usable.append((_configuration(row["params"], spec), _training(row, spec)))
        except InvalidInput as error:
            left_out[str(error.problems[0])] += 1
    values = [training for _, training in usable if not math.isnan(training.values[-1])]
    if len(values) < MIN_ROWS:
        reasons = "; ".join(f"{n} left out: {reason}" for reason, n in left_out.most_common(3))
        rule = f"needs at least {MIN_ROWS} complete trials of the study's space, and has {len(values)}"
        raise InvalidInput([Problem(FIELD, f"{rule}; {reasons}" if reasons else rule)])
    return ExportedTrials(
        table=Table(spec.search_space, [params for params, _ in usable], trainings=[each for _, each in usable]),
        values=[_final(training, spec) for training in values],
        has_curves=all(len(training.values) > 1 for training in values),
        left_out=left_out,
    )


def _final(training: TrainingRun, spec: StudySpec) -> float:
    """Return the value that a training run counts with."""
    if spec.objective.value == "last":
        return training.values[-1]
    numbers = [value for value in training.values if not math.isnan(value)]
    return max(numbers) if spec.objective.goal == "maximize" else min(numbers)


def _configuration(params: Mapping[str, Any], spec: StudySpec) -> Configuration:
    """Return the configuration in the study's space. Raises InvalidInput if it lies outside."""
    known = spec.space
    values = {name: _value(value, known[name]) if name in known else value for name, value in params.items()}
    return spec.search_space.check(values)


def _value(value: JsonValue, parameter: Parameter) -> JsonValue:
    """Convert a cell of a CSV file to the type of its parameter; values from JSON are returned unchanged."""
    if not isinstance(value, str) or parameter.contains(value):
        return value
    try:
        parsed: JsonValue = json.loads(value)
    except ValueError:
        return value
    return parsed


def _training(row: Row, spec: StudySpec) -> TrainingRun:
    """Return the trial's training run. Raises InvalidInput if it cannot be simulated."""
    took_s = max(_duration_s(row), MIN_S)
    if row.get("state") == "failed" and row.get("failure") in INFEASIBLE:
        return TrainingRun((math.nan,), (took_s,))
    if row.get("state") != "complete":
        raise InvalidInput([Problem("state", f"is {row.get('state')}; only complete trials can be simulated")])
    if curve := sorted(_curve(row, spec.objective.metric)):
        steps = tuple(step + 1 for step, _ in curve)
        # The times of reports are not stored; epochs of one trial take about the same time.
        ends_s = tuple(took_s * step / steps[-1] for step in steps)
        return TrainingRun(tuple(value for _, value in curve), ends_s, steps)
    value = _float(row.get("value"))
    if value is None:
        raise InvalidInput([Problem("value", "is not a number", shown(row.get("value")))])
    return TrainingRun((value,), (took_s,), (int(_float(row.get("last_step")) or 0) + 1,))


def _curve(row: Row, metric: str) -> Iterator[tuple[int, float]]:
    for point in row.get("curve") or ():
        value = _float(point["metrics"].get(metric))
        if value is not None:
            yield int(point["step"]), value


def _duration_s(row: Row) -> float:
    if (duration_s := _float(row.get("duration_s"))) is not None:
        return duration_s
    if not row.get("started_at") or not row.get("finished_at"):
        return 0.0
    began, ended = (datetime.fromisoformat(row[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


def _float(value: Any) -> float | None:
    """Return a finite number, also from text; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _from_csv(row: Mapping[str, str]) -> Row:
    """Convert a row of a CSV file to the form of the JSON export; an empty cell is a missing value."""
    filled = {name: cell for name, cell in row.items() if cell}
    params = {name.removeprefix("params."): cell for name, cell in filled.items() if name.startswith("params.")}
    curve = json.loads(filled["curve"]) if "curve" in filled else []
    return {**filled, "params": params, "curve": curve}

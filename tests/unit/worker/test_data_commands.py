"""Commands on a study's data: the audit, and the ranking of subsets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tunefleet.data.seal import SEAL
from tunefleet.errors import InvalidInput
from tunefleet.study.spec import StudySpec
from tunefleet_worker.cli import app
from tunefleet_worker.tasks.split_audit import audit_study
from tunefleet_worker.tasks.subset_check import compare_subsets

SPEC: dict[str, Any] = {
    "name": "s",
    "objective": {"metric": "val_accuracy", "goal": "maximize"},
    "run": {"task": "image_classification", "dataset": "breast_cancer"},
    "space": {"lr": {"log": [1e-5, 1e-1]}, "width": {"int": [2, 16]}, "model": {"fixed": "mlp"}},
    "steps": 2,
    "budget": {"trials": 4},
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(SEAL, "")  # undo what the command sets
    path = tmp_path / "study.json"
    path.write_text(json.dumps(SPEC))
    return path


def test_audit_of_a_built_in_data_set_states_the_resolution_of_its_validation_part() -> None:
    spec = StudySpec.parse({**SPEC, "run": {**SPEC["run"], "dataset": "wine"}})
    found = {finding.code: finding for finding in audit_study(spec)}
    assert found["split.few_of_class"].evidence["samples"] == {"grower 1": 9, "grower 3": 7}
    assert found["split.resolution"].evidence["validation"] == 28
    folded = StudySpec.parse({**SPEC, "run": {**SPEC["run"], "dataset": "wine"}, "data": {"folds": 5}})
    # Each of the 142 wines outside the test part is in one validation part.
    assert {finding.code: finding for finding in audit_study(folded)}["split.resolution"].evidence["validation"] == 142


def test_code_of_ones_own_has_data_that_only_it_knows() -> None:
    with pytest.raises(InvalidInput, match=r"call tunefleet\.data\.audit\.audit_split there"):
        audit_study(StudySpec.parse({**SPEC, "run": {"function": "train:train"}}))


def test_the_audit_is_a_command(file: Path) -> None:
    ran = CliRunner().invoke(app, ["audit", str(file), "--json"])
    assert ran.exit_code == 0, ran.output
    assert [finding["code"] for finding in json.loads(ran.stdout)] == ["split.resolution"]
    assert "91 validation samples" in CliRunner().invoke(app, ["audit", str(file)]).stdout


def test_command_compares_subsets_and_prints_progress_to_stderr(file: Path) -> None:
    ran = CliRunner().invoke(app, ["subsets", str(file), "--configs", "4", "--subset", "0.5", "--json"])
    assert ran.exit_code == 0, ran.output
    [result] = json.loads(ran.stdout)
    assert (result["subset"], result["configurations"]) == (0.5, 4)
    assert ran.stderr.count("configuration ") == 8


@pytest.mark.parametrize("subsets", [[1.0], [0.0, 0.5], []])
def test_invalid_subset_is_refused(subsets: list[float]) -> None:
    with pytest.raises(InvalidInput, match="subset"):
        compare_subsets(StudySpec.parse(SPEC), n_configurations=4, subsets=subsets)


def test_a_space_with_too_few_configurations_is_refused() -> None:
    spec = StudySpec.parse({**SPEC, "space": {"lr": [0.1, 0.2]}})
    with pytest.raises(InvalidInput, match="fewer than 4 configurations"):
        compare_subsets(spec, n_configurations=4, subsets=[0.5])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_quarter_of_the_digits_ranks_thirty_configurations_as_all_of_them_do() -> None:
    spec = StudySpec.parse({**SPEC, "run": {**SPEC["run"], "dataset": "digits"}, "steps": 5})
    tenth, quarter, whole = compare_subsets(spec, n_configurations=30, subsets=[0.1, 0.25])
    print(tenth.correlation, quarter.correlation)
    assert quarter.correlation.rho >= 0.8
    assert quarter.correlation.is_trusted
    assert quarter.correlation.rho >= tenth.correlation.rho - 0.05
    assert np.nanmax(whole.scores) > 0.9

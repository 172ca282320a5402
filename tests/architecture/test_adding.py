"""The guides of docs/architecture.md for a sampler, a pruner, a diagnosis rule and a task: one file, one entry."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.architecture.recipes import Copy, block, files, section

TABLE = "= MappingProxyType(\n    {"
CATALOGUE = "shared/tunefleet/catalogue"
DIAGNOSIS = "master/tunefleet_master/diagnosis"
STUDY = """
from tunefleet import StudySpec
from tunefleet.rules.review import review

def study(**changes):
    plain = {"name": "s", "objective": {"metric": "loss", "goal": "minimize"}, "run": {"function": "a:b"}, "steps": 9}
    spec = StudySpec.parse({**plain, "space": {"lr": {"log": [0.01, 0.4]}, "act": ["relu", "gelu"]}, **changes})
    review(spec).refuse()
    return spec
"""


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A fresh copy of the sources."""
    return Copy(tmp_path)


def test_a_sampler_is_added_as_described(copy: Copy) -> None:
    recipe = section("Add a sampler")
    copy.write(files(recipe))
    copy.insert(f"{CATALOGUE}/samplers.py", "\n        " + block(recipe, '"kronecker"'), after=TABLE)

    copy.run(
        STUDY
        + """
from tunefleet_master.search import registry
from tunefleet_master.search.history import History

spec = study(search={"sampler": "kronecker"})
assert registry.sampler_problems(spec) == []
assert "kronecker" in registry.names() and "kronecker" not in registry.learners()
sampler = registry.build(registry.select(spec).sampler, spec)
proposals = sampler.propose(0, 30, history=History(spec.search_space))
assert len({params["lr"] for params in proposals}) == 30
assert all(spec.search_space.check(params) == params for params in proposals)
"""
    )


def test_a_pruner_is_added_as_described(copy: Copy) -> None:
    recipe = section("Add a pruner")
    copy.write(files(recipe))
    copy.insert(f"{CATALOGUE}/pruners.py", "\n        " + block(recipe, '"last_place"'), after=TABLE)

    copy.run(
        STUDY
        + """
from tunefleet.errors import InvalidInput
from tunefleet_master.pruning import registry
from tunefleet_master.pruning.pruner import RungArrival

pruner = registry.build(study(pruning={"pruner": "last_place", "startup": 2}))
table = pruner.new_table()
actions = []
for trial, value in enumerate([1.0, 2.0, 1.5]):
    table.record(trial, rung=1, value=value)
    actions.append(pruner.decide(table, RungArrival(trial=trial, rung=1, value=value, latest=value)).action)
assert actions == ["continue", "stop", "continue"]
try:
    study(pruning={"pruner": "last_place", "eta": 3})
except InvalidInput as error:
    assert "pruning.eta" in str(error)
else:
    raise AssertionError("a key that the pruner does not read was taken")
"""
    )


def test_rules_on_a_trial_and_on_a_study_are_added_as_described(copy: Copy) -> None:
    recipe = section("Add a diagnosis rule")
    copy.write(files(recipe))
    future = "from __future__ import annotations\n"
    for file, table, module, row in (
        ("training/rules.py", "TRIAL_RULES: tuple[TrialRuleRow, ...] = (", "training.perfection", "TrialRuleRow"),
        ("study_findings.py", "STUDY_RULES: tuple[StudyRuleRow, ...] = (", "equal_values", "StudyRuleRow"),
    ):
        imported = block(recipe, f"from tunefleet_master.diagnosis.{module}")
        copy.insert(f"{DIAGNOSIS}/{file}", f"\n{imported}", after=future)
        copy.insert(f"{DIAGNOSIS}/{file}", f"\n    {block(recipe, row)}", after=table)

    copy.run(
        STUDY
        + """
from tunefleet_master.diagnosis.reported import Reported
from tunefleet_master.diagnosis.study_findings import findings
from tunefleet_master.diagnosis.study_view import StudyView
from tunefleet_master.diagnosis.training.curve import TrialCurve
from tunefleet_master.diagnosis.training.findings import trial_findings
from tunefleet_master.search.history import Change, History, Outcome

perfect = TrialCurve([(step, {"val_accuracy": 1.0}) for step in range(9)], metric="val_accuracy", maximised=True)
assert "perfect_at_once" in [finding.code for finding in trial_findings(perfect)]

spec = study()
history = History(spec.search_space)
for trial in range(6):
    history.fold([Change(trial, Outcome.PENDING, params={"lr": 0.02 + trial / 100, "act": "relu"})])
    history.fold([Change(trial, Outcome.COMPLETE, values=(0.5,), steps=9)])
view = StudyView(history, spec, reported=Reported(best=dict.fromkeys(range(6), perfect)))
found = {finding.code: finding.sentence for finding in findings(view)}
assert found["equal_values"] == "All 6 trials have the same value."
assert found["perfect_at_once"] == "6 of the 6 best trials were perfect in their first report."
"""
    )


def test_a_task_is_added_as_described(copy: Copy) -> None:
    recipe, tasks = section("Add a task"), f"{CATALOGUE}/tasks.py"
    copy.write(files(recipe))
    copy.insert(tasks, "\n        " + block(recipe, '"bowl"'), after=TABLE)
    copy.insert(tasks, f"{block(recipe, 'class Bowl')}\n\n", after="NEVER_CLIPS = 100.0  # percent\n\n\n")

    copy.run(
        STUDY
        + """
import sys

from tunefleet.errors import InvalidInput
from tunefleet.rules.tasks import task_problems
from tunefleet.trial.local_trial import LocalTrial
from tunefleet_worker.tasks.registry import load_task

task = {"run": {"task": "bowl"}, "space": {"lr": {"log": [0.01, 0.4]}}}
spec = study(**task)
assert "torch" not in sys.modules
wrong = StudySpec.parse({**spec.to_json(), "space": {"lr": {"float": [0.5, 1.0]}}})
assert [str(problem) for problem in task_problems(wrong)] == ["space.lr = 1.0: the task takes values below 1"]

trial = LocalTrial(20)
trial.quiet = True
load_task("bowl")(trial, lr=0.3)
assert trial.reports[-1][1]["loss"] < 1e-6
try:
    load_task("bowl")(LocalTrial(1), rate=0.3)
except InvalidInput as error:
    assert "unknown key 'rate'" in str(error)
else:
    raise AssertionError("an unknown argument was taken")
"""
    )

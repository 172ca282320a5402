"""A preflight finds planted bugs, names them, and lets sound pipelines pass."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch
from tests.unit.worker.inspected import inspect, inspect_task
from tests.unit.worker.planted import training
from torch import nn
from torch.nn import functional

from tunefleet.protocol.preflight import Check, PreflightReport
from tunefleet.study.spec import StudySpec
from tunefleet.trial.trial import Trial, TrialStopped
from tunefleet_master.search import registry
from tunefleet_master.services.planning import histories

BUGS = {
    "detached head": ("gradient", "no gradient reaches body.1.weight", "detached"),
    "gradients zeroed before the step": ("gradient", "no gradient reaches", "zeroed before the step"),
    "gradients of a layer zeroed": ("gradient", "no gradient reaches body.1.weight, body.1.bias", "zeroed"),
    "softmax twice": ("logits", "the loss function gets probabilities", "softmax is applied twice"),
    "labels shuffled between batches": ("overfit", "accuracy 0.", "do not match"),
    "learning rate zero": ("moved", "the updates do not change", "the learning rate is zero"),
    "never in training mode": ("statistics", "never sees a batch in body.2", "model.train() is not called"),
    "labels off by one": ("validation", "when all inputs are zero", "off by one"),
    "inputs zeroed": ("inputs", "the same inputs for every sample", "zeroed"),
    "loss with the wrong sign": ("overfit", "accuracy 0.", "its sign is wrong"),
    "division by zero": ("finite", "no finite number", "a logarithm or division of zero"),
    "optimizer of another model": ("optimizer", "does not hold body.1.weight", "created from another model"),
    "optimizer of the head only": ("optimizer", "does not hold body.1.weight", "layers were added or replaced"),
    "no zero_grad": ("cleared", "gradients of the last update are still there", "zero_grad() is not called"),
    "no step": ("step", "the optimizer takes no step", "step() is not called"),
    "weights outside of the state": ("reload", "gives other outputs", "outside of its state_dict"),
    "limit ignored": ("overfit", "accuracy 0.", "trial.limit_data"),
}


def blockers(report: PreflightReport) -> dict[str, Check]:
    return {check.code: check for branch in report.branches for check in branch.blockers}


def test_a_sound_function_passes_every_check(tmp_path):
    report = inspect(training(""), tmp_path)
    [branch] = report.branches
    assert report.passed
    assert report.finding == ""
    assert [check.code for check in branch.checks] == [
        "finite",
        "gradient",
        "start",
        "overfit",
        "reload",
        "inputs",
        "validation",
    ]
    assert all(check.passed for check in branch.checks)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_blocks_the_study_and_is_named(tmp_path, bug):
    code, seen, likely = BUGS[bug]
    report = inspect(training(bug), tmp_path, updates=80)
    found = blockers(report)
    assert not report.passed
    assert seen in found[code].saw
    assert likely in found[code].likely


def test_the_finding_is_the_first_thing_that_is_wrong(tmp_path):
    assert inspect(training("detached head"), tmp_path).finding.startswith("no gradient reaches body.1.weight")


@pytest.mark.parametrize(("bug", "code"), [("frozen layer", "frozen"), ("labels of the validation part", "validation")])
def test_what_may_be_meant_is_a_doubt(tmp_path, bug, code):
    report = inspect(training(bug), tmp_path)
    assert report.passed
    assert [check.code for check in report.branches[0].warnings] == [code]


def test_a_frozen_layer_is_no_doubt_in_a_built_in_task(tmp_path):
    report = inspect(training("frozen layer"), tmp_path, run={"task": "image_classification", "dataset": "digits"})
    assert list(blockers(report)) == ["frozen"]


def test_a_rate_that_is_too_low_is_not_taken_for_a_bug(tmp_path):
    report = inspect(training(""), tmp_path, {"lr": 1e-7}, {"lr": 1e-2}, updates=80)
    assert report.passed
    assert report.branches[0].params == {"lr": 1e-2}


def regression(trial: Trial, *, scale: float = 1.0, report: bool = True) -> None:
    """Fit a curve; with shifted targets the first loss is far above the variance."""
    inputs = torch.linspace(-1, 1, trial.limit_data or 1_000).unsqueeze(1)
    targets = torch.sin(3 * inputs) + (scale - 1)
    model = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in trial.epochs(model=model, optimizer=optimizer):
        for index in torch.randperm(len(inputs)).split(32):
            optimizer.zero_grad()
            loss = functional.mse_loss(model(inputs[index]), targets[index])
            loss.backward()
            optimizer.step()
        if report:
            trial.report(val_loss=loss)


def test_a_regression_has_to_explain_the_variance_of_its_targets(tmp_path):
    [branch] = inspect(regression, tmp_path).branches
    assert not branch.blockers
    assert "R2 0.99" in next(check.saw for check in branch.checks if check.code == "overfit")


def test_a_loss_far_above_the_variance_of_the_targets_is_a_doubt(tmp_path):
    def shifted(trial: Trial) -> None:
        regression(trial, scale=20.0)

    [branch] = inspect(shifted, tmp_path).branches
    start = next(check for check in branch.checks if check.code == "start")
    assert (start.passed, start.blocks) == (False, False)
    assert "the variance of the targets is 0." in start.saw


def test_without_torch_losses_the_reported_training_metric_counts(tmp_path):
    def boosted(trial: Trial) -> None:
        for epoch in trial.epochs():
            trial.report(train_accuracy=min(1.0, 0.5 + 0.1 * epoch), val_accuracy=0.6)

    [branch] = inspect(boosted, tmp_path).branches
    assert not branch.blockers
    assert "accuracy 1 on 64 samples after 6 updates" in branch.checks[-1].saw


def test_function_without_reports_is_told_what_to_report(tmp_path):
    def silent(trial: Trial) -> None:
        for _ in trial.epochs():
            trial.report(val_accuracy=0.6)

    found = blockers(inspect(silent, tmp_path, updates=20))
    assert "report train_accuracy" in found["overfit"].likely


def test_loop_without_epochs_ends_once_the_samples_are_fitted(tmp_path):
    steps: list[int] = []

    def looping(trial: Trial) -> None:
        for step in range(10_000):
            steps.append(step)
            trial.report(train_loss=1.0 / (step + 1), step=step)

    assert inspect(looping, tmp_path).passed
    assert len(steps) < 100


def test_the_trial_says_that_it_is_a_preflight_and_how_many_samples_to_take(tmp_path):
    seen: list[tuple[bool, int | None, int | None]] = []

    def looking(trial: Trial) -> None:
        seen.append((trial.preflight, trial.limit_data, trial.steps))

    inspect(looking, tmp_path, updates=50)
    assert seen[0] == (True, 64, 50)


def test_what_the_function_raises_goes_on_its_way(tmp_path):
    def broken(trial: Trial) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        inspect(broken, tmp_path)


def test_preflight_stops_with_its_worker(tmp_path):
    def stop() -> None:
        raise TrialStopped("drain")

    with pytest.raises(TrialStopped, match="drain"):
        inspect(training(""), tmp_path, check=stop)


def study(**changes: Any) -> StudySpec:
    return StudySpec.parse(
        {
            "name": "study",
            "objective": {"metric": "val_accuracy", "goal": "maximize"},
            "run": {"task": "image_classification", "dataset": "digits"},
            "space": {"lr": {"log": [1e-6, 1e-1]}, "model": ["mlp", "cnn"], "dropout": {"float": [0.0, 0.9]}},
            "steps": 5,
            "preflight": {},
            **changes,
        }
    )


def test_a_built_in_task_passes_each_of_its_architectures(tmp_path):
    report = inspect_task(study(), tmp_path)
    assert report.passed
    assert [branch.params["model"] for branch in report.branches] == ["mlp", "cnn"]
    assert all(check.passed for branch in report.branches for check in branch.checks)


WIDE: dict[str, Any] = {
    "lr": {"log": [1e-5, 1e-1]},
    "batch_size": {"int": [16, 128], "log": True},
    "optimizer": ["sgd", "adam", "adamw", "rmsprop", "nadam", "radam", "adagrad"],
    "model": ["mlp", "cnn"],
    "depth": {"int": [1, 4]},
    "width": {"int": [16, 64], "log": True},
    "activation": ["relu", "gelu", "silu", "tanh"],
    "normalization": ["none", "batch", "layer"],
    "dropout": {"float": [0.0, 0.5]},
}
ORDERED = {name: parameter for name, parameter in WIDE.items() if not isinstance(parameter, list)}
SPACES = {"cmaes": ORDERED}  # it does not support unordered choices
MORE: dict[str, dict[str, Any]] = defaultdict(dict, pbt={"interval": 1, "population": 10})


def first_ten(sampler: str, spec: StudySpec) -> list[dict[str, Any]]:
    """Return the sampler's proposals before any trial has ended."""
    found: list[dict[str, Any]] = []
    built, position = registry.build(sampler, spec), 0
    while len(found) < 10 and position < 100:
        suggested = built.suggest(position, 10, history=histories.empty(spec))
        found += [it.params for it in suggested.found if it]
        position += max(1, len(suggested.found))
    return found[:10]


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["digits", "mnist1d"])
@pytest.mark.parametrize("sampler", ["grid", "random", "sobol", "tpe", "gp", "forest", "cmaes", "evolution", "pbt"])
def test_the_first_ten_configurations_of_every_sampler_pass(tmp_path, sampler, dataset):
    run = {"task": "image_classification", "dataset": dataset}
    search = {"sampler": sampler, "seed": 1, **MORE[sampler]}
    for params in first_ten(sampler, study(space=SPACES.get(sampler, WIDE), run=run, search=search)):
        space = {name: {"fixed": value} for name, value in params.items()}
        report = inspect_task(study(space=space, run=run), tmp_path)
        assert report.passed, (params, report.finding)

"""The built-in task trains well, reports its metrics, and stores a model that can be scored."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save_file

from tunefleet.catalogue import datasets as catalogue_datasets
from tunefleet.catalogue.optimizers import IN_BATCHES, PRESETS
from tunefleet.catalogue.tasks import TASKS, Activation
from tunefleet.errors import InvalidInput, NotFound
from tunefleet.protocol.telemetry import SUMMARIES
from tunefleet.study.spec import DataSpec
from tunefleet.trial.trial import Assignment, Trial
from tunefleet_worker.checkpoints import load_checkpoint, save_checkpoint
from tunefleet_worker.tasks.datasets.parts import DATASETS, DataChoice, load_training_parts
from tunefleet_worker.tasks.evaluation import evaluate_saved_model
from tunefleet_worker.tasks.image_classification import image_classification
from tunefleet_worker.tasks.models import ACTIVATIONS, build_model
from tunefleet_worker.tasks.registry import load_task
from tunefleet_worker.tasks.saved_model import SavedModel, SavedModelError
from tunefleet_worker.training.optimizers import OPTIMIZERS

GOOD: dict[str, Any] = {"lr": 3e-3, "batch_size": 64, "depth": 3, "width": 16}
QUICK: dict[str, Any] = {"lr": 3e-3, "model": "mlp"}


class KeepingTrial(Trial):
    """A trial that stores the best model and files like a worker's, and can stop and resume."""

    def __init__(
        self,
        steps: int,
        folder: Path,
        *,
        dataset: str | None = "digits",
        data: DataSpec | None = None,
        break_after: int | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        options = {} if dataset is None else {"dataset": dataset}
        assignment = Assignment(seed=1, steps=steps, data=data or DataSpec(), options=options)
        super().__init__(assignment, folder=folder)
        self.curve: list[dict[str, float]] = []
        self._break_after = break_after
        self._checkpoint = folder / "checkpoint.safetensors"
        self._model: Any = None
        self._best = -math.inf

    def _begin(self, count: int, stateful: Mapping[str, Any]) -> int:
        self._model = stateful["model"]
        if not self._checkpoint.exists():
            return 0
        checkpoint = load_checkpoint(self._checkpoint, objects=stateful)
        self._watch.restore(checkpoint.progress["watch"])
        return checkpoint.step + 1

    def _between(self, step: int, count: int, stateful: Mapping[str, Any]) -> None:
        if step == self._break_after:
            save_checkpoint(self._checkpoint, step=step, objects=stateful, progress={"watch": self._watch.state()})
            raise InterruptedError

    def _record(self, step: int, metrics: dict[str, float]) -> None:
        self.curve.append(metrics)
        if metrics["val_accuracy"] > self._best:
            self._best = metrics["val_accuracy"]
            save_file(self._model.state_dict(), self.folder / "model.safetensors")

    def _keep(self, name: str, file: Path) -> None:
        assert file.name in (name, f".{name}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> KeepingTrial:
    """Return a completed trial of a good configuration on digits."""
    trial = KeepingTrial(8, tmp_path_factory.mktemp("trained"))
    image_classification(trial, **GOOD)
    return trial


def test_sensible_configuration_solves_digits(trained: KeepingTrial) -> None:
    assert max(metrics["val_accuracy"] for metrics in trained.curve) >= 0.98


def test_every_epoch_reports_loss_and_accuracy_of_both_parts(trained: KeepingTrial) -> None:
    assert len(trained.curve) == 8
    for metrics in trained.curve:
        known = metrics.keys() - set(SUMMARIES) - {"train_eval_loss"}
        assert known == set(TASKS["image_classification"].metrics)


def test_training_is_measured_as_validation_is_at_few_epochs_and_at_the_last_one(trained: KeepingTrial) -> None:
    assert [epoch for epoch, metrics in enumerate(trained.curve, start=1) if "train_eval_loss" in metrics] == [8]
    last = trained.curve[-1]
    assert 0 < last["train_eval_loss"] < last["val_loss"]
    assert trained.curve[-1]["train_loss"] < trained.curve[0]["train_loss"]


def test_saved_model_scores_on_validation_what_training_reported(trained: KeepingTrial) -> None:
    evaluation = evaluate_saved_model(trained.folder, part="validation")
    best = max(trained.curve, key=lambda metrics: metrics["val_accuracy"])
    assert evaluation.accuracy == best["val_accuracy"]
    assert evaluation.loss == pytest.approx(best["val_loss"], rel=1e-6)
    assert evaluation.samples == 288


def test_saved_model_scores_well_on_the_test_part_and_the_same_every_time(trained: KeepingTrial) -> None:
    first, second = (evaluate_saved_model(trained.folder, part="test") for _ in range(2))
    assert first == second
    assert (first.opening, second.opening) == (1, 2)
    openings = [json.loads(line) for line in (trained.folder / "test-openings.jsonl").read_text().splitlines()]
    assert [(line["dataset"], line["samples"]) for line in openings] == [("digits", 359)] * 2
    assert first.samples == 359
    assert first.accuracy >= 0.96


def test_description_tells_classes_data_and_statistics(trained: KeepingTrial) -> None:
    saved = SavedModel.read(trained.folder)
    assert saved.classes == tuple("0123456789")
    assert saved.data == DataChoice(dataset="digits")
    assert saved.standardisation == load_training_parts(saved.data).standardisation
    assert json.loads((trained.folder / "model.json").read_text())["model"]["width"] == 16


def test_the_same_seed_gives_the_same_curve_and_a_resumed_trial_too(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("whole", "broken")]
    data = DataSpec(subset=0.3)
    configuration = {**GOOD, "width": 4, "dropout": 0.2}
    whole = KeepingTrial(5, folders[0], data=data)
    image_classification(whole, **configuration)
    broken = KeepingTrial(5, folders[1], break_after=2, data=data)
    with pytest.raises(InterruptedError):
        image_classification(broken, **configuration)
    resumed = KeepingTrial(5, folders[1], data=data)
    image_classification(resumed, **configuration)
    assert len(resumed.curve) == 2
    assert broken.curve + resumed.curve == whole.curve


def test_diverging_trial_reports_its_loss_as_it_is_and_stops(tmp_path: Path) -> None:
    trial = KeepingTrial(5, tmp_path, data=DataSpec(subset=0.2))
    image_classification(trial, lr=1e30, optimizer="sgd", model="mlp", normalization="none")
    assert len(trial.curve) < 5
    assert not math.isfinite(trial.curve[-1]["train_loss"])


def test_trial_trains_on_mnist1d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "cache"))
    trial = KeepingTrial(3, tmp_path / "trial", dataset="mnist1d", data=DataSpec(subset=0.5))
    image_classification(trial, lr=1e-2, width=16, depth=3)
    assert trial.curve[-1]["val_accuracy"] > 0.6
    assert evaluate_saved_model(trial.folder, part="test").samples == 1000


def test_data_set_may_be_named_in_the_call(tmp_path: Path) -> None:
    trial = KeepingTrial(1, tmp_path, dataset=None, data=DataSpec(subset=0.1))
    image_classification(trial, dataset="digits", **QUICK)
    assert len(trial.curve) == 1


def test_missing_data_set_is_refused_by_the_name_of_its_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"run\.dataset: is required"):
        image_classification(KeepingTrial(1, tmp_path, dataset=None), **QUICK)


def test_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(SavedModelError, match=r"holds no model: model\.json cannot be read"):
        evaluate_saved_model(tmp_path, part="test")


def test_description_without_weights_says_so(trained: KeepingTrial, tmp_path: Path) -> None:
    shutil.copy(trained.folder / "model.json", tmp_path)
    with pytest.raises(SavedModelError, match=r"model\.safetensors cannot be read"):
        evaluate_saved_model(tmp_path, part="test")


def test_weights_of_another_network_are_refused(trained: KeepingTrial, tmp_path: Path) -> None:
    shutil.copy(trained.folder / "model.json", tmp_path)
    save_file({"0.weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(SavedModelError, match=r"does not hold the weights of the model"):
        evaluate_saved_model(tmp_path, part="test")


def test_broken_description_says_what_is_wrong(trained: KeepingTrial, tmp_path: Path) -> None:
    description = json.loads((trained.folder / "model.json").read_text())
    description["model"]["depth"] = 0
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(SavedModelError, match=r"model\.depth"):
        evaluate_saved_model(tmp_path, part="test")


OLD_DESCRIPTION = """{
  "format": "tunefleet.model/1", "task": "image_classification",
  "model": {"kind": "mlp", "input_shape": [13, 1], "classes": 3, "depth": 2, "width": 32, "activation": "relu",
            "dropout": 0.0, "normalization": "batch", "residual": false},
  "data": {"dataset": "wine", "folder": null, "spec": {}, "fold": null},
  "classes": ["a", "b", "c"], "standardisation": {"mean": [0.0], "std": [1.0]}
}"""


def test_a_description_of_an_earlier_version_still_loads(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(OLD_DESCRIPTION)
    saved = SavedModel.read(tmp_path)
    assert saved.model.depth == 2
    build_model(saved.model)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"lr": 0.0}, r"lr = 0\.0: input should be greater than 0"),
        ({"depth": 65}, "depth = 65: input should be less than or equal to 64"),
        ({"optimizer": "lion"}, "optimizer = 'lion': input should be 'sgd', 'adam'"),
        ({"batchsize": 8}, "unknown key 'batchsize'; did you mean 'batch_size'"),
        ({"dataset": "mnist"}, r"run\.dataset = 'mnist': input should be 'digits', 'mnist1d'"),
    ],
)
def test_an_argument_that_the_task_does_not_take_is_named(
    arguments: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        image_classification(KeepingTrial(1, tmp_path), **{**QUICK, **arguments})


def test_every_task_of_the_catalogue_is_a_function_of_the_worker() -> None:
    for name in TASKS:
        assert getattr(load_task(name), "__name__", None) == name


def test_the_catalogue_lists_what_the_worker_has_to_choose() -> None:
    assert tuple(catalogue_datasets.DATASETS) == tuple(DATASETS)
    assert set(IN_BATCHES) == {name for name in OPTIMIZERS if not PRESETS[name].whole_batch}
    assert get_args(Activation) == tuple(ACTIVATIONS)


def test_unknown_task_is_refused_with_what_was_meant() -> None:
    with pytest.raises(NotFound, match="did you mean 'image_classification'"):
        load_task("image_clasification")

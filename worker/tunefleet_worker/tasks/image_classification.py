"""The built-in task `image_classification`: train a small network on one of the built-in data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import Model
from tunefleet.trial.seeding import seed_everything
from tunefleet.trial.trial import Trial
from tunefleet_worker.looking.predictions import keep_predictions
from tunefleet_worker.looking.probe import Probe
from tunefleet_worker.tasks.datasets.parts import DataChoice, TrainingParts, load_training_parts
from tunefleet_worker.tasks.models import ModelConfig, build_model
from tunefleet_worker.tasks.saved_model import SavedModel
from tunefleet_worker.tasks.training import Training, TrainingConfig
from tunefleet_worker.training.epochs import score

NAME = "image_classification"
MIN_EPOCHS_AGAIN = 5  # before which a curve has no shape to be read
SAMPLES_AGAIN = 2  # of training for each of validation, when both are judged in the same way
JUDGED_OF_LIMITED = 4  # samples of the validation part for each of a few to train on: to tell a score from chance


def image_classification(
    trial: Trial,
    *,
    lr: float,
    dataset: str | None = None,
    folder: str | None = None,
    batch_size: int = 64,
    optimizer: str = "adamw",
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    l1: float = 0.0,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    clip_percentile: float = 100.0,
    averaging: str = "none",
    precision: str = "full",
    schedule: str = "constant",
    period: int | None = None,
    decay: float = 0.1,
    cycle_growth: int = 1,
    warmup: float = 0.0,
    model: str = "cnn",
    depth: int = 3,
    width: int = 32,
    activation: str = "relu",
    dropout: float = 0.0,
    normalization: str = "batch",
    residual: bool = False,
) -> None:
    """Train a network; after each epoch, report train_loss, train_accuracy, val_loss and val_accuracy.

    From the fifth epoch on, where it is a power of two or the last one, `train_eval_loss` is the loss on samples of
    training as validation is measured, without dropout: what tells a leak from a regulariser.
    Training ends early when the loss is no longer a number, after reporting it. The artifact `model.json` rebuilds the
    network for the weights that `trial.epochs` keeps. `dataset` and `folder` are options of the study's `run`; given
    here, they go before these. The other arguments are fields of ModelConfig and TrainingConfig.

    Raises:
        InvalidInput: no data set is named, or a parameter is out of its range.
        DataUnavailable: the data set is not here.
    """
    given = dict(locals())
    seed_everything(trial.seed)
    choice = _choice(trial, dataset, folder)
    parts = load_training_parts(choice)
    config = _model_config(parts, given)
    _describe(trial, config, choice, parts)
    train, held_out = (parts.standardisation.apply(part).to(trial.device) for part in (parts.train, parts.validation))
    if trial.limit_data is not None:
        train, held_out = train.first(trial.limit_data), held_out.first(JUDGED_OF_LIMITED * trial.limit_data)
    training = Training(build_model(config).to(trial.device), _training_config(trial, given), n_samples=len(train))
    trial.watch(training.network, training.optimizer)
    for epoch in trial.epochs(**training.stateful):
        trained = training.run_epoch(epoch, train)
        judged = score(training.judged, held_out)
        alike: dict[str, float] = {}
        if _is_judged_again(trial, epoch):
            alike["train_eval_loss"] = score(training.judged, train.drawn(SAMPLES_AGAIN * len(held_out))).loss
        trial.report(
            training.metrics | alike,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            val_loss=judged.loss,
            val_accuracy=judged.accuracy,
        )
        training.end_epoch(judged.loss)
        if not (trained.is_finite and judged.is_finite):
            break
    if trial.limit_data is None:
        probe = Probe(parts.validation_ids, held_out.labels, inputs=held_out.inputs)
        keep_predictions(trial, training.judged, held_out=probe, classes=parts.classes)


def _is_judged_again(trial: Trial, epoch: int) -> bool:
    """At so few epochs that it costs 1 to 3 % of the training, as measured on digits and mnist1d."""
    n = epoch + 1
    return trial.limit_data is None and n >= MIN_EPOCHS_AGAIN and (n == trial.steps or n.bit_count() == 1)


def _choice(trial: Trial, dataset: str | None, folder: str | None) -> DataChoice:
    name = dataset if dataset is not None else trial.options.get("dataset")
    if name is None:
        raise InvalidInput([Problem("run.dataset", f"is required by the task {NAME}")])
    place = folder if folder is not None else trial.options.get("folder")
    return DataChoice.parse({"dataset": name, "folder": place, "spec": trial.data, "fold": trial.fold}, field="run")


def _model_config(parts: TrainingParts, given: Mapping[str, Any]) -> ModelConfig:
    shape = {"input_shape": tuple(parts.train.inputs.shape[1:]), "classes": len(parts.classes)}
    return ModelConfig.parse({"kind": given["model"], **shape, **_fields(ModelConfig, given)})


def _training_config(trial: Trial, given: Mapping[str, Any]) -> TrainingConfig:
    if trial.steps is None:
        raise InvalidInput([Problem("steps", f"is required by the task {NAME}: how many epochs a trial trains")])
    return TrainingConfig.parse({"epochs": trial.steps, **_fields(TrainingConfig, given)})


def _fields(model: type[Model], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the task's arguments that are fields of a model."""
    return {name: value for name, value in given.items() if name in model.model_fields}


def _describe(trial: Trial, config: ModelConfig, choice: DataChoice, parts: TrainingParts) -> None:
    saved = SavedModel(
        task=NAME, model=config, data=choice, classes=parts.classes, standardisation=parts.standardisation
    )
    trial.save("model.json", saved.write(trial.folder))

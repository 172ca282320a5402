"""The built-in task `image_classification`: train a small network on one of the built-in data sets."""

from __future__ import annotations

from tunefleet.errors import InvalidInput, Problem
from tunefleet.seeding import seed_everything
from tunefleet.trial import Trial
from tunefleet_worker.looking.predictions import keep_predictions
from tunefleet_worker.looking.probe import Probe
from tunefleet_worker.tasks.datasets.parts import DataChoice, TrainingParts, load_training_parts
from tunefleet_worker.tasks.models import ModelConfig, build_model
from tunefleet_worker.tasks.saved_model import SavedModel
from tunefleet_worker.training.epochs import score, train_epoch
from tunefleet_worker.training.optimizers import build_optimizer

NAME = "image_classification"
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
    weight_decay: float = 0.0,
    model: str = "cnn",
    depth: int = 3,
    width: int = 32,
    activation: str = "relu",
    dropout: float = 0.0,
    normalization: str = "batch",
) -> None:
    """Train a network; after each epoch, report train_loss, train_accuracy, val_loss and val_accuracy.

    Training ends early when the loss is no longer a number, after reporting it. The artifact `model.json` rebuilds the
    network for the weights that `trial.epochs` keeps. `dataset` and `folder` are options of the study's `run`; given
    here, they go before these.

    Raises:
        InvalidInput: no data set is named, or a parameter is out of its range.
        DataUnavailable: the data set is not here.
    """
    seed_everything(trial.seed)
    choice = _choice(trial, dataset, folder)
    parts = load_training_parts(choice)
    config = ModelConfig.parse(
        {
            "kind": model,
            "input_shape": tuple(parts.train.inputs.shape[1:]),
            "classes": len(parts.classes),
            "depth": depth,
            "width": width,
            "activation": activation,
            "dropout": dropout,
            "normalization": normalization,
        }
    )
    _describe(trial, config, choice, parts)
    network = build_model(config).to(trial.device)
    updates = build_optimizer(optimizer, network, lr=lr, weight_decay=weight_decay, momentum=momentum)
    trial.watch(network, updates)
    train, held_out = (parts.standardisation.apply(part).to(trial.device) for part in (parts.train, parts.validation))
    if trial.limit_data is not None:
        train, held_out = train.first(trial.limit_data), held_out.first(JUDGED_OF_LIMITED * trial.limit_data)
    for _ in trial.epochs(model=network, optimizer=updates):
        trained = train_epoch(network, train, optimizer=updates, batch_size=batch_size)
        judged = score(network, held_out)
        trial.report(
            train_loss=trained.loss, train_accuracy=trained.accuracy, val_loss=judged.loss, val_accuracy=judged.accuracy
        )
        if not (trained.is_finite and judged.is_finite):
            break
    probe = Probe(parts.validation_ids, held_out.labels, inputs=held_out.inputs)
    keep_predictions(trial, network, held_out=probe, classes=parts.classes)


def _choice(trial: Trial, dataset: str | None, folder: str | None) -> DataChoice:
    name = dataset if dataset is not None else trial.options.get("dataset")
    if name is None:
        raise InvalidInput([Problem("run.dataset", f"is required by the task {NAME}")])
    place = folder if folder is not None else trial.options.get("folder")
    return DataChoice.parse({"dataset": name, "folder": place, "spec": trial.data}, field="run")


def _describe(trial: Trial, config: ModelConfig, choice: DataChoice, parts: TrainingParts) -> None:
    saved = SavedModel(
        task=NAME, model=config, data=choice, classes=parts.classes, standardisation=parts.standardisation
    )
    trial.save("model.json", saved.write(trial.folder))

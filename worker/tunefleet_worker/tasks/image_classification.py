"""The built-in task `image_classification`: a small network on one of the built-in data sets."""

from __future__ import annotations

from tunefleet.catalogue.tasks import ImageClassificationArguments, NetworkArguments, TrainingArguments
from tunefleet.errors import InvalidInput, Problem
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
MIN_EPOCHS_AGAIN = 5  # a shorter curve has no shape
SAMPLES_AGAIN = 2  # training samples for each validation sample, when both are evaluated in the same way
JUDGED_OF_LIMITED = 4  # validation samples for each of a few training samples: a score that differs from chance


def image_classification(trial: Trial, **arguments: object) -> None:
    """Train a network; after each epoch, report train_loss, train_accuracy, val_loss and val_accuracy.

    At a few epochs `train_eval_loss` is the loss on training samples, computed without dropout like the validation
    loss. It tells a leak from a regulariser. Training ends after a report of a loss that is not a number. The artifact
    `model.json` rebuilds the network for the weights that `trial.epochs` saves.

    Args:
        trial: its options give the data set, unless the arguments name one.
        arguments: fields of `tunefleet.catalogue.tasks.ImageClassificationArguments`.

    Raises:
        InvalidInput: no data set is named, or an argument is unknown or out of its range.
        DataUnavailable: the data set is not available on this machine.
    """
    given = ImageClassificationArguments.of(trial.options, arguments)
    training_config = _training_config(trial, given)
    seed_everything(trial.seed)
    choice = _choice(trial, given)
    parts = load_training_parts(choice)
    config = _model_config(parts, given)
    _describe(trial, config, choice, parts)
    train, held_out = (parts.standardisation.apply(part).to(trial.device) for part in (parts.train, parts.validation))
    if trial.limit_data is not None:
        train, held_out = train.first(trial.limit_data), held_out.first(JUDGED_OF_LIMITED * trial.limit_data)
    training = Training(build_model(config).to(trial.device), training_config, n_samples=len(train))
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
    """Return whether to evaluate training samples. At these epochs it costs 1 to 3 % of digits and mnist1d."""
    n = epoch + 1
    return trial.limit_data is None and n >= MIN_EPOCHS_AGAIN and (n == trial.steps or n.bit_count() == 1)


def _choice(trial: Trial, given: ImageClassificationArguments) -> DataChoice:
    plain = {"dataset": given.dataset, "folder": given.folder, "spec": trial.data, "fold": trial.fold}
    return DataChoice.parse(plain, field="run")


def _model_config(parts: TrainingParts, given: ImageClassificationArguments) -> ModelConfig:
    shape = {"input_shape": tuple(parts.train.inputs.shape[1:]), "classes": len(parts.classes)}
    return ModelConfig.parse({"kind": given.model, **shape, **given.part(NetworkArguments)})


def _training_config(trial: Trial, given: ImageClassificationArguments) -> TrainingConfig:
    if trial.steps is None:
        raise InvalidInput([Problem("steps", f"is required by the task {NAME}: how many epochs a trial trains")])
    return TrainingConfig.parse({"epochs": trial.steps, **given.part(TrainingArguments)})


def _describe(trial: Trial, config: ModelConfig, choice: DataChoice, parts: TrainingParts) -> None:
    saved = SavedModel(
        task=NAME, model=config, data=choice, classes=parts.classes, standardisation=parts.standardisation
    )
    trial.save("model.json", saved.write(trial.folder))

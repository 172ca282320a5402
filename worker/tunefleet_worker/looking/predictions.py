"""A model's predictions on held-out samples, stored as the artifacts `predictions.json` and `predictions.svg`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tunefleet.errors import InvalidInput, Problem
from tunefleet.figures.contact_sheets import trial_sheet
from tunefleet.model import problems_of
from tunefleet.protocol.looks import choose, trial_look
from tunefleet.protocol.predictions import DIGITS, FILE, MAX_PICTURES, SHEET, Picture, Predictions
from tunefleet.trial.trial import Trial
from tunefleet_worker.looking.pictures import pictures_of
from tunefleet_worker.looking.probe import Probe

BATCH = 512  # samples at once


def keep_predictions(trial: Trial, model: nn.Module, *, held_out: Probe, classes: Sequence[str]) -> bool:
    """Predict with the trial's best model on `trial.data.probe` held-out samples, and store the predictions.

    Call it once, after the loop of epochs. It loads the state of the best step into the model, if this process has it,
    and leaves the model in evaluation mode. Labels and `trial.data.seed` determine the samples, so trials with the same
    held-out samples use the same ones. It draws no random number.

    Args:
        trial: the trial that stores the files.
        model: maps inputs to logits (n, k), on the trial's device.
        held_out: samples with inputs; never samples that the model was trained on, nor samples of the test part.
        classes: the k class names.

    Returns:
        False, without storing anything, when `trial.data.probe` is 0 or the model has diverged.

    Raises:
        InvalidInput: see `write_predictions`.
    """
    if trial.data.probe == 0 or len(held_out) == 0:
        return False
    probe = held_out.part(trial.data.probe, seed=trial.data.seed)
    kept: Literal["best", "last"] = "best" if trial.load_best(model) else "last"
    probabilities = predict(model, probe.inputs)
    if not probabilities.isfinite().all():
        return False
    write_predictions(trial, probe, probabilities=probabilities, classes=classes, model=kept)
    return True


@torch.no_grad()
def predict(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return probabilities, float32 (n, k) on the CPU; the model maps inputs (n, ...) to logits, in evaluation mode."""
    model.eval()
    return torch.cat([model(batch).float().softmax(dim=1).cpu() for batch in torch.split(inputs, BATCH)])


def write_predictions(
    trial: Trial,
    probe: Probe,
    *,
    probabilities: Tensor | Any,
    classes: Sequence[str] | None = None,
    model: Literal["best", "last"] = "last",
) -> None:
    """Store predicted probabilities of held-out samples, with pictures of the best and worst predictions.

    Args:
        trial: the trial that stores the files.
        probe: the samples; without inputs no pictures are stored.
        probabilities: (n, k), each row a distribution; anything that torch converts to a tensor.
        classes: the k class names; default: their numbers.
        model: the step of the model, the best or the last.

    Raises:
        InvalidInput: there are more samples than the protocol allows, or labels and rows do not match.
    """
    p = torch.as_tensor(probabilities).detach().to("cpu", torch.float64)
    if p.dim() != 2:
        raise InvalidInput([Problem("probabilities", f"must be (samples, classes), and the shape is {tuple(p.shape)}")])
    names = tuple(classes) if classes is not None else tuple(map(str, range(p.shape[1])))
    data = {
        "model": model,
        "classes": names,
        "ids": tuple(each.item() if hasattr(each, "item") else each for each in probe.ids),
        "labels": tuple(torch.as_tensor(probe.labels).tolist()),
        "probabilities": [[round(value, DIGITS) for value in row] for row in p.tolist()],
    }
    try:
        made = Predictions.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(problems_of(error, field="predictions")[:3]) from error
    _save(trial, made.model_copy(update={"pictures": _pictures(made, probe.inputs)}))


def _save(trial: Trial, predictions: Predictions) -> None:
    table, drawing = trial.folder / FILE, trial.folder / SHEET
    table.write_text(predictions.model_dump_json(), encoding="utf-8")
    look = trial_look(predictions, study=str(trial.options.get("dataset") or "trial"), trial=trial.number)
    drawing.write_text(trial_sheet(look), encoding="utf-8")
    trial.save(FILE, table)
    trial.save(SHEET, drawing)


def _pictures(predictions: Predictions, inputs: Any) -> dict[int, Picture]:
    """Return pictures of the samples on the contact sheet, then of confident errors, MAX_PICTURES in all."""
    if inputs is None:
        return {}
    chosen, everything = choose(predictions), choose(predictions, MAX_PICTURES)
    shown = (*chosen.best, *chosen.worst, *chosen.confidently_wrong, *everything.confidently_wrong)
    places = list(dict.fromkeys(shown))[:MAX_PICTURES]
    made = pictures_of(torch.as_tensor(inputs), torch.tensor(places))
    return {} if made is None else dict(zip(places, made, strict=True))

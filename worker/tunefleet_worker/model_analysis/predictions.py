"""What a model says of the probe set, kept as the artifacts `predictions.json` and `predictions.svg`."""

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
from tunefleet_worker.model_analysis.held_out import HeldOutSamples
from tunefleet_worker.model_analysis.pictures import pictures_of

BATCH = 512  # samples at once


def keep_predictions(trial: Trial, model: nn.Module, *, held_out: HeldOutSamples, classes: Sequence[str]) -> bool:
    """Store what the trial's best model says of `trial.data.probe` of the samples that it holds out.

    Call it once, behind the loop of epochs. The model is given the state of its best step, where that is kept in this
    process, and is left in evaluation mode. Which samples they are depends on the labels and `trial.data.seed`, and so
    is the same in all trials that hold out the same samples. It draws no random number.

    Args:
        trial: whose files they become.
        model: from inputs to logits (n, k), on the trial's device.
        held_out: with inputs; never samples that the model was trained on, nor of the test part.
        classes: the k names.

    Returns:
        False, and nothing is stored, when `trial.data.probe` is 0, or the model diverged: it says nothing of anything.

    Raises:
        InvalidInput: what `write_predictions` does.
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
    """Probabilities, float32 (n, k) on the CPU, of a model from inputs (n, ...) to logits, in evaluation mode."""
    model.eval()
    return torch.cat([model(batch).float().softmax(dim=1).cpu() for batch in torch.split(inputs, BATCH)])


def write_predictions(
    trial: Trial,
    probe: HeldOutSamples,
    *,
    probabilities: Tensor | Any,
    classes: Sequence[str] | None = None,
    model: Literal["best", "last"] = "last",
) -> None:
    """Store probabilities of held-out samples, with pictures of those that are worth looking at.

    Args:
        trial: whose files they become.
        probe: the samples; without inputs they are kept without pictures.
        probabilities: (n, k), each row a distribution; anything that torch makes a tensor of.
        classes: the k names; their numbers if not given.
        model: which of the trial's models says it.

    Raises:
        InvalidInput: there are more samples than `tunefleet.protocol.predictions` allows, or labels and rows do not fit.
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
    """Of what is shown of this trial, and then of what it is wrong about, as far as MAX_PICTURES goes."""
    if inputs is None:
        return {}
    chosen, everything = choose(predictions), choose(predictions, MAX_PICTURES)
    shown = (*chosen.best, *chosen.worst, *chosen.confidently_wrong, *everything.confidently_wrong)
    places = list(dict.fromkeys(shown))[:MAX_PICTURES]
    made = pictures_of(torch.as_tensor(inputs), torch.tensor(places))
    return {} if made is None else dict(zip(places, made, strict=True))

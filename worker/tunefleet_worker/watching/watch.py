"""Watching a model train: at log-spaced updates hooks look at gradients, steps and activations, and go again.

Between those updates one hook on the optimizer counts, which costs a microsecond, and what the model is given is looked
at until it is known. Which updates are watched depends on their number alone, and nothing is drawn or changed: a
watched training equals an unwatched one bit for bit, and the same training is watched at the same updates wherever it
was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from tunefleet.errors import InvalidInput, Problem
from tunefleet.protocol.telemetry import Telemetry
from tunefleet_worker.watching.activations import ActivationProbe
from tunefleet_worker.watching.inputs import InputProbe
from tunefleet_worker.watching.records import Record, records_of, summary_of, telemetry_of
from tunefleet_worker.watching.schedule import is_kept, next_watched
from tunefleet_worker.watching.updates import UpdateProbe

MAX_NOTES = 20
_NOTE_CHARACTERS = 500


class Watch:
    """Watches the updates that optimizers make to a model.

    An update is a step of the last optimizer. An error inside the watch ends the watch and not the training; the
    telemetry's notes say what it was.

    Args:
        model: its trainable parameters and their layers are watched; it may be compiled or wrapped.
        optimizers: of torch.optim, or derived from its Optimizer.
        scaler: the gradient scaler of a training in mixed precision, without which the gradients' norm is the scaled.

    Raises:
        InvalidInput: the model has no trainable parameter, an optimizer is none, or they hold none of the model's
        parameters.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[Optimizer], *, scaler: Any = None) -> None:
        _check(model, optimizers)
        self.epoch: int | None = None
        """The trial's step that runs; the trial tells it."""
        self._model, self._optimizers, self._scaler = model, list(optimizers), scaler
        self.n_watched = 0
        """How many updates were looked at; the telemetry has the log-spaced ones of them."""
        self._updates = 0
        self._next = 0  # the update that is watched next
        self._is_over = False
        self._records: list[Record] = []
        self._recent: list[dict[str, float]] = []  # summaries that were not asked for yet
        self._notes: list[str] = []
        self._changes: UpdateProbe | None = None
        self._outputs: ActivationProbe | None = None
        self._inputs = InputProbe(model)
        self._n_written = 0
        self._pre_hooks: list[Any] = []
        self._post_hook = self._optimizers[-1].register_step_post_hook(self._on_step)
        self._arm_if_next()

    def summaries(self) -> dict[str, float]:
        """Metrics of the watched updates since the last call; empty when there were none."""
        recent, self._recent = self._recent, []
        return summary_of(recent) | self._inputs.news()

    def telemetry(self) -> Telemetry:
        """Everything that was seen so far."""
        for note in self._inputs.notes:
            self._note(note)
        return telemetry_of(self._records, updates=self._updates, notes=self._notes)

    def is_due(self) -> bool:
        """Whether twice as many updates have been made as when the telemetry was stored last."""
        return self._updates >= 2 * self._n_written and self.is_newer()

    def is_newer(self) -> bool:
        """Whether there is something that was not stored yet."""
        return self._updates > self._n_written

    def note_written(self) -> None:
        """The telemetry was stored as it is now."""
        self._n_written = self._updates

    def state(self) -> dict[str, Any]:
        """What `restore` of another process needs to go on from here, as JSON."""
        seen = {"recent": list(self._recent), "inputs": self._inputs.state()}
        return {"telemetry": self.telemetry().model_dump_json(), **seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another watch of the same training had come to."""
        earlier = Telemetry.model_validate_json(state["telemetry"])
        self._records, self._recent = records_of(earlier), list(state["recent"])
        self._updates, self._notes = earlier.updates, list(earlier.notes)
        if (inputs := state.get("inputs")) is not None:  # checkpoints of older workers have none
            self._inputs.restore(inputs)
        self._next = next_watched(self._updates)
        self._disarm()
        self._arm_if_next()

    def close(self) -> None:
        """Take all hooks away; safe to call twice."""
        self._is_over = True
        self._inputs.close()
        self._disarm()
        self._post_hook.remove()

    def _on_step(self, *_: object) -> None:
        if self._changes is not None:
            self._guarded(self._record)
            self._disarm()
            self._next = next_watched(self._updates + 1)
        self._updates += 1
        self._arm_if_next()

    def _arm_if_next(self) -> None:
        if self._updates == self._next and not self._is_over:
            self._guarded(self._arm)

    def _arm(self) -> None:
        """Set the hooks for the update that comes next."""
        self._changes, self._outputs = UpdateProbe(self._model), ActivationProbe(self._model)
        self._pre_hooks = [each.register_step_pre_hook(self._before_step) for each in self._optimizers]

    def _disarm(self) -> None:
        for probe in (self._changes, self._outputs):
            if probe is not None:
                probe.close()
        self._changes = self._outputs = None
        for hook in self._pre_hooks:
            hook.remove()
        self._pre_hooks = []

    def _before_step(self, *_: object) -> None:
        if self._changes is not None and not self._changes.has_snapshot:
            self._guarded(self._changes.snapshot)

    @torch.no_grad()
    def _record(self) -> None:
        if self._changes is None or self._outputs is None:
            return
        norm, tensors = self._changes.measure()
        if norm is not None and self._scaler is not None:
            norm /= self._scaler.get_scale()
        record = Record(
            step=self._updates,
            epoch=self.epoch,
            samples=self._outputs.samples,
            grad_norm=norm,
            tensors=tuple(tensors),
            layers=tuple(self._outputs.measure()),
            input_scale=self._outputs.input_scale(),
        )
        self.n_watched += 1
        self._recent.append(record.summary())
        if is_kept(self._updates):
            self._records.append(record)
        for note in self._outputs.notes:
            self._note(note)

    def _guarded(self, act: Any) -> None:
        """Act, and give the watch up when that fails: no training ends for what watches it."""
        try:
            act()
        except Exception as error:
            self._note(f"the watch ended at update {self._updates}: {type(error).__name__}: {error}")
            self.close()

    def _note(self, text: str) -> None:
        note = text[:_NOTE_CHARACTERS]
        if note not in self._notes and len(self._notes) < MAX_NOTES:
            self._notes.append(note)


def _check(model: object, optimizers: Sequence[object]) -> None:
    if not isinstance(model, nn.Module):
        raise _unwatchable("model", f"a torch.nn.Module is watched, and this is a {type(model).__qualname__}")
    if not optimizers:
        raise _unwatchable("optimizer", "the step of an optimizer is watched; pass it: trial.watch(model, optimizer)")
    for optimizer in optimizers:
        if not isinstance(optimizer, Optimizer):
            kind = type(optimizer).__qualname__
            raise _unwatchable("optimizer", f"a torch.optim.Optimizer is watched, and this is a {kind}")
    parameters = list(model.parameters())
    if not parameters:
        raise _unwatchable("model", f"{type(model).__qualname__} has no parameters, so that nothing of it is trained")
    if not any(parameter.requires_grad for parameter in parameters):
        raise _unwatchable("model", "none of the model's parameters requires a gradient, so that nothing is trained")
    held = {id(each) for optimizer in optimizers for group in optimizer.param_groups for each in group["params"]}  # type: ignore[attr-defined]
    if not any(id(parameter) in held for parameter in parameters):
        rule = (
            "holds none of the model's parameters, so that its steps change nothing of the model; make it from "
            "model.parameters() of the very model that is trained"
        )
        raise _unwatchable("optimizer", rule)


def _unwatchable(field: str, rule: str) -> InvalidInput:
    return InvalidInput([Problem(f"watch.{field}", rule)])

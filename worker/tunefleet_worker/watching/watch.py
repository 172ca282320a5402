"""The watch over a training: at log-spaced updates, hooks measure gradients, steps and activations.

Between these updates one hook on the optimizer counts, which costs a microsecond, and the inputs are examined until
they are known. The number of an update alone decides whether it is watched, also after an interruption. The watch draws
no random number and changes nothing: a watched training equals an unwatched one bit for bit.
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
    """Watches the updates of a model by its optimizers.

    An update is a step of the last optimizer. An error inside the watch ends the watch, not the training, and is noted
    in the telemetry.

    Args:
        model: the model; it may be compiled or wrapped.
        optimizers: from torch.optim, or subclasses of its Optimizer.
        scaler: the gradient scaler of mixed-precision training; without it the norm is that of the scaled gradients.

    Raises:
        InvalidInput: the model has no trainable parameter, an optimizer is not torch's, or the optimizers hold none of
        the model's parameters.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[Optimizer], *, scaler: Any = None) -> None:
        _check(model, optimizers)
        self.epoch: int | None = None
        """The step that the trial runs; set by the trial."""
        self._model, self._optimizers, self._scaler = model, list(optimizers), scaler
        self.n_watched = 0
        """The number of watched updates; the telemetry has the log-spaced ones."""
        self._updates = 0
        self._next = 0  # the next watched update
        self._is_over = False
        self._records: list[Record] = []
        self._recent: list[dict[str, float]] = []  # summaries since the last call of `summaries`
        self._notes: list[str] = []
        self._update_probe: UpdateProbe | None = None
        self._activation_probe: ActivationProbe | None = None
        self._input_probe = InputProbe(model)
        self._n_written = 0
        self._pre_hooks: list[Any] = []
        self._post_hook = self._optimizers[-1].register_step_post_hook(self._on_step)
        self._arm_if_next()

    def summaries(self) -> dict[str, float]:
        """Return the metrics of the watched updates since the last call; empty when there are none."""
        recent, self._recent = self._recent, []
        return summary_of(recent) | self._input_probe.new_metrics()

    def telemetry(self) -> Telemetry:
        """Return everything measured so far."""
        for note in self._input_probe.notes:
            self._note(note)
        return telemetry_of(self._records, updates=self._updates, notes=self._notes)

    def is_due(self) -> bool:
        """Return True if twice as many updates were made as at the last `note_written`."""
        return self._updates >= 2 * self._n_written and self.is_newer()

    def is_newer(self) -> bool:
        """Return True if an update was made since the last `note_written`."""
        return self._updates > self._n_written

    def note_written(self) -> None:
        """Record that the telemetry is stored as it is now."""
        self._n_written = self._updates

    def state(self) -> dict[str, Any]:
        """Return the state for `restore` in another process, as JSON."""
        seen = {"recent": list(self._recent), "inputs": self._input_probe.state()}
        return {"telemetry": self.telemetry().model_dump_json(), **seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the state of another watch of the same training."""
        earlier = Telemetry.model_validate_json(state["telemetry"])
        self._records, self._recent = records_of(earlier), list(state["recent"])
        self._updates, self._notes = earlier.updates, list(earlier.notes)
        if (inputs := state.get("inputs")) is not None:  # checkpoints of older workers have none
            self._input_probe.restore(inputs)
        self._next = next_watched(self._updates)
        self._disarm()
        self._arm_if_next()

    def close(self) -> None:
        """Remove all hooks; safe to call twice."""
        self._is_over = True
        self._input_probe.close()
        self._disarm()
        self._post_hook.remove()

    def _on_step(self, *_: object) -> None:
        if self._update_probe is not None:
            self._guarded(self._record)
            self._disarm()
            self._next = next_watched(self._updates + 1)
        self._updates += 1
        self._arm_if_next()

    def _arm_if_next(self) -> None:
        if self._updates == self._next and not self._is_over:
            self._guarded(self._arm)

    def _arm(self) -> None:
        """Install the hooks for the next update."""
        self._update_probe, self._activation_probe = UpdateProbe(self._model), ActivationProbe(self._model)
        self._pre_hooks = [each.register_step_pre_hook(self._before_step) for each in self._optimizers]

    def _disarm(self) -> None:
        for probe in (self._update_probe, self._activation_probe):
            if probe is not None:
                probe.close()
        self._update_probe = self._activation_probe = None
        for hook in self._pre_hooks:
            hook.remove()
        self._pre_hooks = []

    def _before_step(self, *_: object) -> None:
        if self._update_probe is not None and not self._update_probe.has_snapshot:
            self._guarded(self._update_probe.snapshot)

    @torch.no_grad()
    def _record(self) -> None:
        if self._update_probe is None or self._activation_probe is None:
            return
        norm, tensors = self._update_probe.measure()
        if norm is not None and self._scaler is not None:
            norm /= self._scaler.get_scale()
        record = Record(
            step=self._updates,
            epoch=self.epoch,
            samples=self._activation_probe.samples,
            grad_norm=norm,
            tensors=tuple(tensors),
            layers=tuple(self._activation_probe.measure()),
            input_scale=self._activation_probe.input_scale(),
        )
        self.n_watched += 1
        self._recent.append(record.summary())
        if is_kept(self._updates):
            self._records.append(record)
        for note in self._activation_probe.notes:
            self._note(note)

    def _guarded(self, act: Any) -> None:
        """Call `act`, and end the watch when it raises: a failure of the watch never ends a training."""
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
        raise _unwatchable("model", f"must be a torch.nn.Module, and is a {type(model).__qualname__}")
    if not optimizers:
        raise _unwatchable("optimizer", "is required: trial.watch(model, optimizer)")
    for optimizer in optimizers:
        if not isinstance(optimizer, Optimizer):
            kind = type(optimizer).__qualname__
            raise _unwatchable("optimizer", f"must be a torch.optim.Optimizer, and is a {kind}")
    parameters = list(model.parameters())
    if not parameters:
        raise _unwatchable("model", f"{type(model).__qualname__} has no parameters to train")
    if not any(parameter.requires_grad for parameter in parameters):
        raise _unwatchable("model", "none of the model's parameters requires a gradient")
    held = {id(each) for optimizer in optimizers for group in optimizer.param_groups for each in group["params"]}  # type: ignore[attr-defined]
    if not any(id(parameter) in held for parameter in parameters):
        rule = (
            "holds none of the model's parameters, so its steps do not change the model; create it from "
            "model.parameters() of the model that is trained"
        )
        raise _unwatchable("optimizer", rule)


def _unwatchable(field: str, rule: str) -> InvalidInput:
    return InvalidInput([Problem(f"watch.{field}", rule)])

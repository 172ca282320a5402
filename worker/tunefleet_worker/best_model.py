"""The model as it was at its best step, kept while training goes on."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunefleet.protocol import Lease

if TYPE_CHECKING:
    from torch import Tensor


class BestModel:
    """Copies a model's state whenever the objective's metric is the best so far; writes the copy when it is asked to.

    The copy lies in the CPU's memory, so that a trial's GPU holds its model once.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._value: float | None = None
        self._step: int | None = None
        self._tensors: dict[str, Tensor] = {}
        self._is_written = True

    @property
    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps: the best value and its step."""
        return {"value": self._value, "step": self._step}

    def restore(self, progress: Mapping[str, Any]) -> None:
        """Go on from an earlier attempt; its model lies with the master already."""
        self._value, self._step = progress["value"], progress["step"]

    def consider(self, step: int, metrics: Mapping[str, float], *, model: Any) -> None:
        """Copy the model's state if these metrics are the best so far, or the objective counts the last ones."""
        objective = self._lease.objective
        asked_for = self._lease.result_metrics or (objective.metric,)
        if not all(math.isfinite(metrics.get(name, math.nan)) for name in asked_for):
            return
        value = metrics[objective.metric]
        if objective.value == "best" and not self._is_better(value, step):
            return
        tensors = _copied(model)
        if tensors:
            self._value, self._step, self._tensors, self._is_written = value, step, tensors, False

    def load_into(self, model: Any) -> bool:
        """Give the model the state that is kept; False when there is none here."""
        if not self._tensors:
            return False
        model.load_state_dict(self._tensors, strict=False)  # what is no tensor was not kept
        return True

    def write(self, path: Path) -> bool:
        """Write what `write` has not written yet; False when there is nothing new.

        The file's metadata say what the model is: study, trial, step, metric, value and params.
        """
        if self._is_written:
            return False
        from safetensors.torch import save_file

        lease = self._lease
        metadata = {
            "format": "pt",  # what other readers of safetensors files look for
            "study": lease.study,
            "trial": str(lease.number),
            "step": str(self._step),
            "metric": lease.objective.metric,
            "value": repr(self._value),
            "params": json.dumps(lease.params),
        }
        save_file(self._tensors, path, metadata)
        self._is_written = True
        return True

    def _is_better(self, value: float, step: int) -> bool:
        # A step that is reported in parts comes again with the same value, and perhaps another model.
        return self._lease.objective.better(value, self._value) or (step == self._step and value == self._value)


def _copied(model: Any) -> dict[str, Tensor]:
    """The tensors of a model's state, each in memory of its own on the CPU."""
    torch = sys.modules.get("torch")
    if torch is None:  # then there are no tensors, and a trial without torch need not wait for it
        return {}
    state = model.state_dict()
    with torch.no_grad():
        return {
            str(name): value.detach().to("cpu", copy=True).contiguous()
            for name, value in state.items()
            if isinstance(value, torch.Tensor)
        }

"""A copy of the model at its best step."""

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
    """Copies a model's state whenever the objective's metric is the best so far, and writes the copy on request.

    The copy is in CPU memory, so that the GPU holds the model once.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._value: float | None = None
        self._step: int | None = None
        self._tensors: dict[str, Tensor] = {}
        self._is_written = True

    @property
    def progress(self) -> dict[str, Any]:
        """The data for a checkpoint: the best value and its step."""
        return {"value": self._value, "step": self._step}

    def restore(self, progress: Mapping[str, Any]) -> None:
        """Continue from an earlier attempt; the master already has its model."""
        self._value, self._step = progress["value"], progress["step"]

    def consider(self, step: int, metrics: Mapping[str, float], *, model: Any) -> None:
        """Copy the model's state if these metrics are the best so far, or if the objective uses the last step."""
        objective = self._lease.objective
        required = self._lease.result_metrics or (objective.metric,)
        if not all(math.isfinite(metrics.get(name, math.nan)) for name in required):
            return
        value = metrics[objective.metric]
        if objective.value == "best" and not self._is_better(value, step):
            return
        tensors = _copied(model)
        if tensors:
            self._value, self._step, self._tensors, self._is_written = value, step, tensors, False

    def load_into(self, model: Any) -> bool:
        """Load the copied state into the model; return False when there is no copy."""
        if not self._tensors:
            return False
        model.load_state_dict(self._tensors, strict=False)  # values that are not tensors were not copied
        return True

    def write(self, path: Path) -> bool:
        """Write the copy to a file; return False when it was written before.

        The file's metadata name the study, trial, step, metric, value and params.
        """
        if self._is_written:
            return False
        from safetensors.torch import save_file

        lease = self._lease
        metadata = {
            "format": "pt",  # required by other readers of safetensors files
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
        # A step may be reported in parts: the value is the same, but the model may have changed.
        return self._lease.objective.better(value, self._value) or (step == self._step and value == self._value)


def _copied(model: Any) -> dict[str, Tensor]:
    """Return copies of the tensors in a model's state, on the CPU."""
    torch = sys.modules.get("torch")
    if torch is None:  # there are no tensors, and the import would be slow
        return {}
    state = model.state_dict()
    with torch.no_grad():
        return {
            str(name): value.detach().to("cpu", copy=True).contiguous()
            for name, value in state.items()
            if isinstance(value, torch.Tensor)
        }

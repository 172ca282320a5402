"""Gradient clipping at a percentile of the observed norms.

The rule of the Deep Learning Tuning Playbook (Godbole et al. 2023, "How can optimization failures be debugged and
mitigated?"): clip at the 90th percentile of the unclipped norms; if more than half of the updates are clipped, lower
the learning rate instead. The playbook takes the percentile from a run without clipping. This module takes it from the
run's own norms so far, as AutoClip does (Seetharaman et al. 2020, arXiv:2007.14469).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

PERCENTILE = 90.0
MAX_SHARE_CLIPPED = 0.5  # of the updates: the playbook's number
WINDOW = 500  # newest norms: the percentile follows gradients that shrink during a training
MIN_NORMS = 20  # before the first clipping, for a meaningful percentile


class PercentileClip:
    """Call `clip()` between `backward` and the optimizer's step.

    Norms stay on the parameters' device, so that the CPU does not wait for them. A checkpoint holds the newest norms.

    Args:
        parameters: the parameters; their gradients are clipped by their joint norm.
        percentile: percentile of the newest unclipped norms; 100 clips nothing.
    """

    def __init__(self, parameters: Iterable[Tensor], percentile: float = PERCENTILE) -> None:
        self._parameters = list(parameters)
        self._share = percentile / 100.0
        device = self._parameters[0].device
        self._norms = torch.zeros(WINDOW, device=device)
        self._clipped = torch.zeros(WINDOW, dtype=torch.bool, device=device)
        self._n = 0

    @torch.no_grad()
    def clip(self) -> Tensor:
        """Scale the gradients down if their norm exceeds the threshold; return the norm before, a scalar."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = get_total_norm(gradients)
        threshold = self.threshold()
        at = self._n % WINDOW
        self._norms[at] = torch.where(norm.isfinite(), norm, threshold)  # an overflow must not raise the percentile
        self._clipped[at] = norm > threshold
        self._n += 1
        # The relative norm against 1: torch would synchronise for a threshold that is a tensor.
        clip_grads_with_norm_(self._parameters, 1.0, norm / threshold)
        return norm

    def threshold(self) -> Tensor:
        """Return the norm above which gradients are clipped, a scalar; infinite before MIN_NORMS norms."""
        if self._n < MIN_NORMS:
            return torch.full((), torch.inf, device=self._norms.device)
        norms = self._norms[: self._n]
        return torch.quantile(norms, self._share).clamp(min=torch.finfo(norms.dtype).tiny)  # avoids a division by zero

    @property
    def share_clipped(self) -> float:
        """The share of clipped updates among the newest ones that could be clipped."""
        n = min(self._n, WINDOW)
        n_clippable = n - max(0, MIN_NORMS - (self._n - n))
        return int(self._clipped[:n].sum()) / n_clippable if n_clippable > 0 else 0.0

    @property
    def advice(self) -> str | None:
        """Advice to lower the rate if more than half of the updates were clipped; None otherwise."""
        share = self.share_clipped
        if share <= MAX_SHARE_CLIPPED:
            return None
        return f"{share:.0%} of the newest updates were clipped, more than half: lower the learning rate instead."

    def state_dict(self) -> dict[str, Any]:
        """Return the newest norms."""
        return {"norms": self._norms, "clipped": self._clipped, "n": self._n}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        self._norms.copy_(state["norms"])
        self._clipped.copy_(state["clipped"])
        self._n = state["n"]

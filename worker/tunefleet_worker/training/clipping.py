"""Gradient clipping at a percentile of the norms that were seen.

The rule of the Deep Learning Tuning Playbook (Godbole et al. 2023, "How can optimization failures be debugged and
mitigated?"): clip at the 90th percentile of the unclipped norms; if more than half of the updates are clipped, lower
the learning rate instead. The playbook takes the percentile from a run without clipping; here, as in AutoClip
(Seetharaman et al. 2020, arXiv:2007.14469), it is that of the run's own norms so far.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

PERCENTILE = 90.0
TOO_OFTEN = 0.5  # of the updates: the playbook's number
WINDOW = 500  # newest norms: the percentile follows a training whose gradients shrink over its course
FEWEST = 20  # norms before the first is clipped, so that a percentile of them means something


class PercentileClip:
    """Call `clip()` between `backward` and the optimizer's step.

    Norms stay on the parameters' device, so that nothing waits for them. A checkpoint of it holds the newest norms.

    Args:
        parameters: whose gradients are clipped, by the norm of all of them together.
        percentile: of the newest unclipped norms; nothing is clipped at 100.
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
        """Scale the gradients down if their norm is above the percentile; the norm before, a scalar."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = get_total_norm(gradients)
        threshold = self.threshold()
        at = self._n % WINDOW
        self._norms[at] = torch.where(norm.isfinite(), norm, threshold)  # an overflow is no norm to go by
        self._clipped[at] = norm > threshold
        self._n += 1
        # The relative norm against 1: torch would wait for a threshold that is a tensor.
        clip_grads_with_norm_(self._parameters, 1.0, norm / threshold)
        return norm

    def threshold(self) -> Tensor:
        """The norm above which gradients are clipped now, a scalar; infinite while too few were seen."""
        if self._n < FEWEST:
            return torch.full((), torch.inf, device=self._norms.device)
        norms = self._norms[: self._n]
        return torch.quantile(norms, self._share).clamp(min=torch.finfo(norms.dtype).tiny)  # no norm is divided by zero

    @property
    def share_clipped(self) -> float:
        """The share of the newest updates that were clipped, of those that could be."""
        n = min(self._n, WINDOW)
        could = n - max(0, FEWEST - (self._n - n))
        return int(self._clipped[:n].sum()) / could if could > 0 else 0.0

    @property
    def advice(self) -> str | None:
        """What to do when clipping hides that the rate is too high; None when it does not."""
        share = self.share_clipped
        if share <= TOO_OFTEN:
            return None
        return f"{share:.0%} of the newest updates were clipped, more than half: lower the learning rate instead."

    def state_dict(self) -> dict[str, Any]:
        """The newest norms."""
        return {"norms": self._norms, "clipped": self._clipped, "n": self._n}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s."""
        self._norms.copy_(state["norms"])
        self._clipped.copy_(state["clipped"])
        self._n = state["n"]

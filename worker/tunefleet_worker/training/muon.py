"""Muon for hidden matrices, AdamW for the rest, as one optimizer.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon) orthogonalise the momentum of a matrix by five Newton-Schulz
steps; Liu et al. 2025 (arXiv:2502.16982) scale the step to AdamW's root mean square, 0.2 sqrt(max(rows, columns)), so
that one learning rate and one decay work for both. torch's Muon accepts only matrices: a convolution's kernel is viewed
as a matrix (outputs, inputs * window), and all other parameters go to torch's AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

OF_MUON: dict[str, Any] = {"momentum": 0.95, "nesterov": True, "ns_steps": 5}


class MuonWithAdamW(Optimizer):
    """One optimizer for groups with `muon: True`, with parameters of two or more dimensions, and groups for AdamW.

    Schedules, checkpoints and hooks see its groups and state as those of any optimizer: a momentum matrix for each
    parameter of Muon, and two moments and a count for each parameter of AdamW. torch's two optimizers work on this
    state and have none of their own.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float = 1e-3, *, weight_decay: float = 0.0) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "muon": False}
        super().__init__([{**(OF_MUON if group.get("muon") else {}), **group} for group in groups], defaults)
        ours, rest = self._split_groups()
        self._matrices = [[nn.Parameter(_as_matrix(it.detach())) for it in group["params"]] for group in ours]
        self._muon = _muon(self._matrices) if ours else None
        self._adamw = torch.optim.AdamW(rest, lr=lr, fused=True) if rest else None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters with a gradient; return the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        ours, rest = self._split_groups()
        if self._muon is not None:
            self._assign(self._muon, ours)
            self._muon.step()
        if self._adamw is not None:
            # Restoring a checkpoint replaces the groups, so they are assigned before each step.
            self._adamw.param_groups, self._adamw.state = rest, self.state
            self._adamw.step()
        return loss

    def _split_groups(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        groups = self.param_groups
        return [group for group in groups if group["muon"]], [group for group in groups if not group["muon"]]

    def _assign(self, muon: Optimizer, ours: list[dict[str, Any]]) -> None:
        """Assign the options, weights, gradients and momenta of our groups to Muon, as matrices."""
        for group, seen, matrices in zip(ours, muon.param_groups, self._matrices, strict=True):
            seen.update({name: group[name] for name in ("lr", "weight_decay", *OF_MUON)})
            for parameter, matrix in zip(group["params"], matrices, strict=True):
                matrix.data = _as_matrix(parameter.data)
                matrix.grad = None if parameter.grad is None else _as_matrix(parameter.grad)
                muon.state[matrix] = self.state[parameter]


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights for Muon: two or more dimensions, not in the first layer, the last layer or an embedding.

    Layers are in the order of registration; a model of two layers has none.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    return [it for it in weights[1:-1] if it.requires_grad and id(it) not in embeddings]


def _muon(matrices: list[list[nn.Parameter]]) -> Optimizer:
    return torch.optim.Muon([{"params": group} for group in matrices], adjust_lr_fn="match_rms_adamw", **OF_MUON)


def _as_matrix(tensor: Tensor) -> Tensor:
    return tensor.view(len(tensor), -1)

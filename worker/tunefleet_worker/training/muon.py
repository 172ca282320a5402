"""Muon for hidden matrices, AdamW for the rest, as one optimizer.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon) orthogonalise the momentum of a matrix by five Newton-Schulz
steps; Liu et al. 2025 (arXiv:2502.16982) scale the step to AdamW's root mean square, 0.2 sqrt(max(rows, columns)), so
that one learning rate and one decay serve both. torch's Muon takes matrices alone: the kernel of a convolution is shown
to it as the matrix (outputs, inputs * window) that it is, and everything else goes to torch's AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

OF_MUON: dict[str, Any] = {"momentum": 0.95, "nesterov": True, "ns_steps": 5}


class MuonWithAdamW(Optimizer):
    """One optimizer over groups with `muon: True`, of parameters with two dimensions or more, and groups of AdamW's.

    Its groups and its state are what a schedule, a checkpoint or a hook sees of any optimizer: a momentum for each of
    Muon's parameters, as a matrix, and AdamW's two moments and count for each of the others. torch's two optimizers
    work on them, and have nothing of their own.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float = 1e-3, *, weight_decay: float = 0.0) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "muon": False}
        super().__init__([{**(OF_MUON if group.get("muon") else {}), **group} for group in groups], defaults)
        ours, rest = self._halves()
        self._matrices = [[nn.Parameter(_as_matrix(it.detach())) for it in group["params"]] for group in ours]
        self._muon = _muon(self._matrices) if ours else None
        self._adamw = torch.optim.AdamW(rest, lr=lr, fused=True) if rest else None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of all parameters that have a gradient; the closure's loss, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        ours, rest = self._halves()
        if self._muon is not None:
            self._lend(self._muon, ours)
            self._muon.step()
        if self._adamw is not None:
            # Restoring a checkpoint makes new groups, so that these are lent anew each time.
            self._adamw.param_groups, self._adamw.state = rest, self.state
            self._adamw.step()
        return loss

    def _halves(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        groups = self.param_groups
        return [group for group in groups if group["muon"]], [group for group in groups if not group["muon"]]

    def _lend(self, muon: Optimizer, ours: list[dict[str, Any]]) -> None:
        """Show Muon the options, weights, gradients and momenta of our groups, each tensor as a matrix."""
        for group, seen, matrices in zip(ours, muon.param_groups, self._matrices, strict=True):
            seen.update({name: group[name] for name in ("lr", "weight_decay", *OF_MUON)})
            for parameter, matrix in zip(group["params"], matrices, strict=True):
                matrix.data = _as_matrix(parameter.data)
                matrix.grad = None if parameter.grad is None else _as_matrix(parameter.grad)
                muon.state[matrix] = self.state[parameter]


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The weights that Muon is for: of two dimensions or more, and of neither the first layer, the last, an embedding.

    They are taken in the order in which the modules were registered; a model of two layers has none.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    return [it for it in weights[1:-1] if it.requires_grad and id(it) not in embeddings]


def _muon(matrices: list[list[nn.Parameter]]) -> Optimizer:
    return torch.optim.Muon([{"params": group} for group in matrices], adjust_lr_fn="match_rms_adamw", **OF_MUON)


def _as_matrix(tensor: Tensor) -> Tensor:
    return tensor.view(len(tensor), -1)

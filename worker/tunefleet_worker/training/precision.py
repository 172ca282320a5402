"""Mixed precision and compiled models, on a GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn


def mixed_precision(device: str | torch.device) -> AbstractContextManager[object]:
    """Return a context for forward pass and loss: autocast to bfloat16 on a GPU that supports it.

    bfloat16 has the range of float32, so that losses need no scaling. On other devices, such as the CPU, the context
    does nothing: bfloat16 would be slower and less accurate.
    """
    if _is_gpu(device) and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def compile_model(model: nn.Module, device: str | torch.device) -> nn.Module:
    """Compile a model in place on a GPU, and do nothing elsewhere; the names in its state do not change.

    The first batches take seconds to a minute longer: only trainings of many minutes benefit.
    """
    if _is_gpu(device):
        model.compile()
    return model


def _is_gpu(device: str | torch.device) -> bool:
    """Return True for a GPU."""
    return torch.device(device).type == "cuda"

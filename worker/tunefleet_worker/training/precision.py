"""Mixed precision and compiled models, where they help: on a GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn


def mixed_precision(device: str | torch.device) -> AbstractContextManager[object]:
    """A context for forward pass and loss: bfloat16 for the operations that stand it, on a GPU that computes with it.

    bfloat16 has float32's range, so that losses need no scaling. Elsewhere, on the CPU too, nothing changes: there it
    would cost time and digits.
    """
    if helps(device) and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def compile_model(model: nn.Module, device: str | torch.device) -> nn.Module:
    """Compile a model in place on a GPU, and leave it alone elsewhere; the names in its state stay the same.

    The first batches take from seconds to a minute longer: only trainings of many minutes win.
    """
    if helps(device):
        model.compile()
    return model


def helps(device: str | torch.device) -> bool:
    """Whether a device is a GPU."""
    return torch.device(device).type == "cuda"

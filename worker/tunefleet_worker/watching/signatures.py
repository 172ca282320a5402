"""Numbers by which equal samples are known.

Two sums of a sample's bits with random odd weights modulo 2^32, over at most 128 of its elements (multiplicative
hashing; Dietzfelbinger et al. 1997). Equal samples have equal ones; others agree once in 10^15 times, or where they
differ in nothing that was looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

MAX_ELEMENTS = 128  # of a sample, evenly spaced


def signatures(inputs: Sequence[Tensor]) -> Tensor:
    """(n,) int64, on their device, of tensors (n, ...): equal for samples that are equal to the bit in all of them."""
    found = torch.zeros(len(inputs[0]), dtype=torch.int64, device=inputs[0].device)
    for each in inputs:
        bits = _bits(each.detach())
        first, second = _weights(bits.shape[1], bits.device)
        high, low = ((bits * weights).sum(1, dtype=torch.int32).to(torch.int64) for weights in (first, second))
        found = found * 31 + ((high << 32) | (low & 0xFFFF_FFFF)).to(found.device)
    return found


def _bits(inputs: Tensor) -> Tensor:
    """(n, at most 256) int32: of 128 elements of each sample all bits, the high ones mixed into the low."""
    if inputs.is_complex():
        inputs = torch.view_as_real(inputs)
    n, shape = len(inputs), inputs.shape[1:]
    size = math.prod(shape)
    stride = -(-size // MAX_ELEMENTS)
    if inputs.is_contiguous():
        flat = inputs.reshape(n, size)
        flat = flat[:, :: stride | 1] if stride > 1 else flat
    else:  # without a copy of all of it
        places = torch.arange(0, size, stride | 1 if stride > 1 else 1, device=inputs.device)
        each: Any = (slice(None), *torch.unravel_index(places, shape))
        flat = inputs[each] if shape else inputs.reshape(n, 1)
    if flat.is_floating_point() and flat.element_size() < 4:
        flat = flat.to(torch.float32)
    bits = flat.to(torch.int32) if flat.element_size() < 4 else flat.contiguous().view(torch.int32)
    return bits ^ (bits >> 16) if flat.is_floating_point() else bits  # whole numbers have their low bits zero


@cache
def _weights(n: int, device: torch.device) -> Tensor:
    """(2, n) odd and random, always the same."""
    generator = torch.Generator().manual_seed(0)
    low, high = torch.iinfo(torch.int32).min, torch.iinfo(torch.int32).max
    return (torch.randint(low, high, (2, n), generator=generator, dtype=torch.int32) | 1).to(device)

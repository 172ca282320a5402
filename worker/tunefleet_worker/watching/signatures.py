"""Hashes of samples, to find equal ones.

A signature is the sum of a sample's bits with random odd weights modulo 2^64, over at most 64 elements (multiplicative
hashing; Dietzfelbinger et al. 1997). Equal samples have equal signatures. Different samples collide once in 10^15
times, or if they agree in all hashed elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

MAX_ELEMENTS = 64  # hashed elements of a sample, evenly spaced


def signatures(inputs: Sequence[Tensor]) -> Tensor:
    """Return signatures, int64 (n,), of tensors (n, ...), on their device; equal if samples agree bit for bit."""
    columns = [_bits(each.detach()) for each in inputs]
    bits = columns[0] if len(columns) == 1 else torch.cat([each.to(columns[0].device) for each in columns], 1)
    found: Tensor = (bits.to(torch.int64) * _weights(bits.shape[1], bits.device)).sum(1)
    return found


def _bits(inputs: Tensor) -> Tensor:
    """Return int32 (n, at most 128): all bits of 64 elements of each sample, the high bits mixed into the low."""
    if inputs.is_complex():
        inputs = torch.view_as_real(inputs)
    n, shape = len(inputs), inputs.shape[1:]
    size = math.prod(shape)
    stride = -(-size // MAX_ELEMENTS) | 1
    if inputs.is_contiguous():
        flat = inputs.reshape(n, size)[:, ::stride]
    else:  # without a copy of the whole tensor
        places = torch.arange(0, size, stride, device=inputs.device)
        each: Any = (slice(None), *torch.unravel_index(places, shape))
        flat = inputs[each] if shape else inputs.reshape(n, 1)
    if flat.is_floating_point() and flat.element_size() < 4:
        flat = flat.to(torch.float32)
    bits = flat.to(torch.int32) if flat.element_size() < 4 else flat.contiguous().view(torch.int32)
    return bits ^ (bits >> 16) if flat.is_floating_point() else bits  # floats of integers have zeros in their low bits


@cache
def _weights(n: int, device: torch.device) -> Tensor:
    """Return fixed random odd weights, int64 (n,)."""
    generator = torch.Generator().manual_seed(0)
    low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    return (torch.randint(low, high, (n,), generator=generator, dtype=torch.int64) | 1).to(device)

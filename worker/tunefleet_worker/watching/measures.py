"""Norms and moments of tensors of any kind, at a cost that does not grow with their size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PARAMETER_SAMPLE = 16_384
"""Elements of a larger parameter that are looked at: a ratio of norms is then known to about 0.8 %, and the copy that a
watched update needs takes 64 kB a parameter whatever the model.
"""

OUTPUT_SAMPLE = 4_096
"""Elements of a layer's output: a standard deviation is then known to about 1 %, and a batch tells it no better."""


def dense(tensor: Tensor) -> Tensor:
    """The tensor's numbers as one real dimension, outside of autograd: of a sparse one those that it stores."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.reshape(-1)


def sample(tensor: Tensor, at_most: int) -> Tensor:
    """The tensor's numbers, or evenly spaced ones of a large one: the same places each time; may share its memory."""
    flat = dense(tensor)
    stride = -(-flat.numel() // at_most)
    if stride <= 1:
        return flat
    return flat[:: stride | 1]  # odd, so that it meets every column of a matrix with 2^k of them


def norm(flat: Tensor) -> Tensor:
    """The Euclidean norm as a scalar in at least float32."""
    length: Tensor = torch.linalg.vector_norm(flat, dtype=torch.promote_types(flat.dtype, torch.float32))
    return length


def moments(rows: Sequence[Tensor]) -> list[tuple[float, float]]:
    """Mean and standard deviation (of the population) of each row; rows of one length are taken together."""
    found: dict[int, tuple[float, float]] = {}
    alike: dict[tuple[object, ...], list[int]] = {}
    for at, row in enumerate(rows):
        alike.setdefault((len(row), row.dtype, row.device), []).append(at)
    for places in alike.values():
        stacked = torch.stack([rows[at] for at in places])
        stacked = stacked.to(torch.promote_types(stacked.dtype, torch.float32))
        mean = stacked.mean(1)
        std = (stacked - mean[:, None]).square().mean(1).sqrt()
        found |= dict(zip(places, zip(mean.tolist(), std.tolist(), strict=True), strict=True))
    return [found[at] for at in range(len(rows))]


def fetched(scalars: Sequence[Tensor]) -> list[float]:
    """The values of scalars, in one transfer from each device, float32."""
    if not scalars:
        return []
    place = scalars[0].device
    return [float(value) for value in torch.stack([scalar.detach().float().to(place) for scalar in scalars]).tolist()]

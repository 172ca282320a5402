"""Norms and moments of tensors, at a cost that does not grow with their size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PARAMETER_SAMPLE = 16_384
"""Maximum number of sampled elements of a parameter: a ratio of norms is accurate to about 0.8 %, and the copy for a
watched update takes at most 64 kB per parameter.
"""

OUTPUT_SAMPLE = 4_096
"""Maximum number of sampled elements of a layer's output: a standard deviation is accurate to about 1 %, as accurate as
a batch allows.
"""


def dense(tensor: Tensor) -> Tensor:
    """Return the tensor's numbers, detached, in one real dimension; for a sparse tensor its stored values."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.reshape(-1)


def sample(tensor: Tensor, at_most: int) -> Tensor:
    """Return at most this many evenly spaced numbers of a tensor, always the same ones; may share its memory."""
    flat = dense(tensor)
    stride = -(-flat.numel() // at_most)
    if stride <= 1:
        return flat
    return flat[:: stride | 1]  # odd, so that it samples every column of a matrix with 2^k columns


def norm(flat: Tensor) -> Tensor:
    """Return the Euclidean norm as a scalar in float32 or wider."""
    length: Tensor = torch.linalg.vector_norm(flat, dtype=torch.promote_types(flat.dtype, torch.float32))
    return length


def moments(rows: Sequence[Tensor]) -> list[tuple[float, float]]:
    """Return mean and population standard deviation of each row; rows of equal length are computed together."""
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
    """Return the values of scalars as float32, with one transfer per device."""
    if not scalars:
        return []
    device = scalars[0].device
    return [float(value) for value in torch.stack([scalar.detach().float().to(device) for scalar in scalars]).tolist()]

"""Samples that are in one part and, the same or nearly so, in another."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunefleet.data.columns import Positions

NEAR = 0.1
"""A near-duplicate is nearer than this share of the distance that a sample mostly has from its nearest neighbour.

Samples of a smooth density in k dimensions come so near by chance with a probability of about NEAR^k, 1 in 10,000 where
k is 4.
"""
TYPICAL = 0.75  # the quantile of these distances: near-duplicates do not lower it until they are three quarters
MAX_PRODUCTS = 4e9  # multiplications, some seconds; with more samples, a part of them is looked at
BLOCK = 512  # judged samples at a time, for the memory


def exact_duplicates(inputs: NDArray[Any], seen: Positions, *, judged: Positions) -> Positions:
    """Pairs (seen, judged) of positions with equal inputs (n, ...), int64 (m, 2); one pair for each judged sample."""
    known = {_digest(inputs[position]): position for position in reversed(seen.tolist())}
    pairs = [
        (known[digest], position) for position in judged.tolist() if (digest := _digest(inputs[position])) in known
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def near_duplicates(inputs: NDArray[Any], seen: Positions, *, judged: Positions) -> Positions:
    """Pairs (seen, judged) of positions whose inputs (n, ...) are nearly equal, int64 (m, 2), the nearest first.

    Distances are Euclidean. Of pictures and signals each sample is shifted and scaled to mean 0 and length 1 before, so
    that a distance is one of correlation, and a brighter copy is a copy; of tables, inputs (n, d) or (n, d, 1), each
    feature is to its standard deviation. The cost is bounded: of too many samples every so many is judged.
    """
    judged = judged[:: _stride(len(seen) * len(judged) * math.prod(inputs.shape[1:]))]
    if len(judged) == 0:
        return np.empty((0, 2), dtype=np.int64)
    is_table = math.prod(inputs.shape[2:]) == 1
    scaled = _by_feature if is_table else _by_sample
    known, asked = scaled(inputs, seen, like=seen), scaled(inputs, judged, like=seen)
    nearest, distances = _nearest(known, asked)
    is_near = distances < NEAR * np.quantile(distances, TYPICAL)
    found = np.flatnonzero(is_near)[np.argsort(distances[is_near], kind="stable")]
    return np.stack([seen[nearest[found]], judged[found]], axis=1)


def _stride(n_products: float) -> int:
    return max(1, math.ceil(n_products / MAX_PRODUCTS))


def _nearest(known: NDArray[Any], asked: NDArray[Any]) -> tuple[Positions, NDArray[Any]]:
    """For each row of asked (m, d) the nearest of known (k, d): which it is, and how far."""
    nearest = np.empty(len(asked), dtype=np.int64)
    squares = (known**2).sum(axis=1) / 2
    for at in range(0, len(asked), BLOCK):
        nearest[at : at + BLOCK] = np.argmin(squares - asked[at : at + BLOCK] @ known.T, axis=1)
    # Anew from the difference: |a|² + |b|² - 2ab has no digits left where the two are nearly equal.
    return nearest, np.linalg.norm(known[nearest] - asked, axis=1)


def _by_sample(inputs: NDArray[Any], positions: Positions, *, like: Positions) -> NDArray[Any]:
    rows = inputs[positions].reshape(len(positions), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))


def _by_feature(inputs: NDArray[Any], positions: Positions, *, like: Positions) -> NDArray[Any]:
    known = inputs[like].reshape(len(like), -1).astype(np.float64)
    spread = known.std(axis=0)
    rows = inputs[positions].reshape(len(positions), -1)
    return np.asarray((rows - known.mean(axis=0)) / np.where(spread > 0, spread, 1))


def _digest(row: NDArray[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest()

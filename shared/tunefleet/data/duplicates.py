"""Exact and near-duplicates between two parts."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunefleet.data.columns import Positions

NEAR = 0.1
"""The distance of a near-duplicate, as a share of the TYPICAL quantile of distances to the nearest neighbour.

With a smooth density in k dimensions, samples come this near by chance with a probability of about NEAR^k: 1 in 10,000
for k = 4.
"""
TYPICAL = 0.75  # near-duplicates do not lower this quantile until they are three quarters of the samples
MAX_PRODUCTS = 4e9  # multiplications, a few seconds; with more samples, only some of them are checked
BLOCK = 512  # judged samples at a time, to bound the memory


def exact_duplicates(inputs: NDArray[Any], seen: Positions, *, judged: Positions) -> Positions:
    """Return position pairs (seen, judged) with equal inputs (n, ...), int64 (m, 2); one pair per judged sample."""
    known = {_digest(inputs[position]): position for position in reversed(seen.tolist())}
    pairs = [
        (known[digest], position) for position in judged.tolist() if (digest := _digest(inputs[position])) in known
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def near_duplicates(inputs: NDArray[Any], seen: Positions, *, judged: Positions) -> Positions:
    """Return position pairs (seen, judged) with nearly equal inputs (n, ...), int64 (m, 2), the nearest first.

    Distances are Euclidean. Each image or signal is first shifted and scaled to mean 0 and length 1, so the distance
    measures correlation, and a brighter copy is a copy. In tables, with inputs (n, d) or (n, d, 1), each feature is
    scaled to its standard deviation. The cost is bounded: of too many samples, only every k-th is judged.
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
    """Return, for each row of asked (m, d), the index of the nearest row of known (k, d) and its distance."""
    nearest = np.empty(len(asked), dtype=np.int64)
    squares = (known**2).sum(axis=1) / 2
    for at in range(0, len(asked), BLOCK):
        nearest[at : at + BLOCK] = np.argmin(squares - asked[at : at + BLOCK] @ known.T, axis=1)
    # Recomputed from the difference, because |a|² + |b|² - 2ab cancels if the two are nearly equal.
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

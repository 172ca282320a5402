"""Seeded orders of samples, from which parts and subsets are cut one after the other.

A stratified order is such that every stretch of it holds each class in its share of the whole, to within a sample or
two. So a part is a stretch, all parts are stratified, and a smaller subset is the beginning of a larger one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tunefleet.data.columns import Positions, read_classes


def random_order(n_samples: int, seed: int) -> Positions:
    """A permutation, int64 (n,), the one that `torch.randperm` gives with a generator of this seed.

    Equal to torch's, so that a model that was trained on a split of torch's finds the same test part without torch:
    Fisher and Yates' shuffle, its numbers from a Mersenne twister, seeded as its authors do.
    """
    if n_samples < 2:
        return np.arange(n_samples)
    # numpy's newer generators seed the twister in another way.
    words = np.random.RandomState(seed).randint(0, 2**32, size=n_samples - 1, dtype=np.uint32)
    jumps = (words % np.arange(n_samples, 1, -1)).tolist()
    order = list(range(n_samples))
    for place, jump in enumerate(jumps):
        other = place + jump
        order[place], order[other] = order[other], order[place]
    return np.array(order)


def stratified_order(labels: ArrayLike, seed: int) -> Positions:
    """A seeded order, int64 (n,), of which each beginning holds every class in its share.

    The p-th sample of a class with n_c samples, in random order, is placed at (p + 1/2) / n_c; so the beginning up to t
    holds round(t n_c) of them. Which class comes first among equal places is random. Of C classes the count of one is
    off its share by at most 1/2 + (C / 2) n_c / n: one sample where classes are equally large, and of a rare class.
    """
    _, codes = read_classes(labels)
    shuffled = random_order(len(codes), seed)
    places = np.empty(len(codes))
    for code in range(codes.max(initial=-1) + 1):
        members = codes[shuffled] == code
        n_members = members.sum()
        places[members] = (np.arange(n_members) + 0.5) / n_members
    return shuffled[np.argsort(places, kind="stable")]

"""Seeded orders of samples. Parts and subsets are consecutive slices of an order.

In a stratified order, every slice has each class in its share of the whole, to within one or two samples. So all parts
are stratified, and a smaller subset is a prefix of a larger one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tunefleet.data.columns import Positions, read_classes


def random_order(n_samples: int, seed: int) -> Positions:
    """Return a permutation, int64 (n,), equal to that of `torch.randperm` with a generator of this seed.

    So a model trained on a split of torch gets the same test part without torch. The algorithm is the Fisher-Yates
    shuffle with a Mersenne twister, seeded as its authors do.
    """
    if n_samples < 2:
        return np.arange(n_samples)
    # numpy's newer generators seed the twister differently.
    words = np.random.RandomState(seed).randint(0, 2**32, size=n_samples - 1, dtype=np.uint32)
    jumps = (words % np.arange(n_samples, 1, -1)).tolist()
    order = list(range(n_samples))
    for place, jump in enumerate(jumps):
        other = place + jump
        order[place], order[other] = order[other], order[place]
    return np.array(order)


def stratified_order(labels: ArrayLike, seed: int) -> Positions:
    """Return a seeded order, int64 (n,), in which each prefix has every class in its share.

    The p-th sample of a class with n_c samples, in random order, is placed at (p + 1/2) / n_c, so the prefix up to t
    has round(t n_c) of them. Ties between classes are broken at random. With C classes, the count of a class deviates
    from its share by at most 1/2 + (C / 2) n_c / n: one sample for classes of equal size, and for a rare class.
    """
    _, codes = read_classes(labels)
    shuffled = random_order(len(codes), seed)
    places = np.empty(len(codes))
    for code in range(codes.max(initial=-1) + 1):
        members = codes[shuffled] == code
        n_members = members.sum()
        places[members] = (np.arange(n_members) + 0.5) / n_members
    return shuffled[np.argsort(places, kind="stable")]

"""The seeded orders, which are torch's, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tunefleet.data.order import random_order


@pytest.mark.parametrize("n_samples", [0, 1, 2, 7, 1797])
@pytest.mark.parametrize("seed", [0, 1, 12345, 2**31 - 1])
def test_the_random_order_is_the_one_that_torch_gives(n_samples: int, seed: int) -> None:
    theirs = torch.randperm(n_samples, generator=torch.Generator().manual_seed(seed))
    assert np.array_equal(random_order(n_samples, seed), theirs.numpy())

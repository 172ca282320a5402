"""The initial design: a low-discrepancy sequence, used until there are enough results to learn from."""

from __future__ import annotations

import numpy as np

from tunefleet_master.search.axes import Points


def sobol_point(d: int, position: int, *, seed: int) -> Points:
    """Return the point (d,) at a position of the scrambled Sobol sequence of `SobolSampler` with the same seed."""
    from scipy.stats import qmc  # takes two seconds, which delay no start of a master

    engine = qmc.Sobol(d, scramble=True, rng=np.random.default_rng(seed))
    if position:  # scipy fails on 0
        engine.fast_forward(position)
    return np.asarray(engine.random(1)[0])

"""An even cover of the unit cube, point by point, to begin with while there is nothing to learn from."""

from __future__ import annotations

import numpy as np

from tunefleet_master.search.axes import Points


def covering_point(d: int, position: int, *, seed: int) -> Points:
    """The point (d,) at a position of the scrambled Sobol sequence that `SobolSampler` walks with this seed."""
    from scipy.stats import qmc  # takes two seconds to import, which a master that starts need not wait for

    engine = qmc.Sobol(d, scramble=True, rng=np.random.default_rng(seed))
    if position:  # scipy fails on 0
        engine.fast_forward(position)
    return np.asarray(engine.random(1)[0])

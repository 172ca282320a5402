"""A package with samplers of its own, as somebody might install it beside the master."""

from __future__ import annotations

from pathlib import Path

MODULE = '''
import time

import numpy as np

from tunefleet_master.search.evidence import evidence
from tunefleet_master.search.sampler import LearningSampler


class NearbySampler(LearningSampler):
    """Steps from the best trial so far that become smaller; four points of an even cover first."""

    name = "mylab.nearby"

    def _points(self, position, n, history):
        known = evidence(history)
        for at in range(position, position + n):
            noise = self.generator(at)
            if len(known.scores) < 4:
                yield noise.random(self.axes.d)
            else:
                best = known.points[np.argmin(known.scores)]
                yield np.clip(best + noise.normal(0, 0.3 / len(known.scores), self.axes.d), 0, 1)


class BrokenSampler(NearbySampler):
    name = "mylab.broken"

    def propose(self, position, n, *, history):
        if 2 <= position < 5:
            raise ArithmeticError(f"no idea at {position}")
        return super().propose(position, n, history=history)


class SlowSampler(NearbySampler):
    name = "mylab.slow"

    def propose(self, position, n, *, history):
        time.sleep(60)
'''

ENTRY_POINTS = """
[tunefleet.samplers]
mylab.nearby = mylab:NearbySampler
mylab.broken = mylab:BrokenSampler
mylab.slow = mylab:SlowSampler
mylab.absent = mylab:NoSuchSampler
undotted = mylab:NearbySampler
"""


def write_package(folder: Path) -> Path:
    """Put the package and what pip would write about it into a folder, which must stand on the path."""
    (folder / "mylab.py").write_text(MODULE)
    about = folder / "mylab-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder

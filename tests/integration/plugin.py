"""A package with samplers of its own, installed beside the master; one of them is the sampler of docs/search.md."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
[SAMPLER] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
"""The sampler that the page shows."""

MODULE = f"""
{SAMPLER}

class BrokenSampler(NearbySampler):
    name = "mylab.broken"

    def propose(self, position, n, *, history):
        if 2 <= position < 5:
            raise ArithmeticError(f"no idea at {{position}}")
        return super().propose(position, n, history=history)


class SlowSampler(NearbySampler):
    name = "mylab.slow"

    def propose(self, position, n, *, history):
        import time

        time.sleep(60)
"""

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

"""Seeds derived from other seeds."""

from __future__ import annotations

import hashlib


def trial_seed(study_seed: int, number: int) -> int:
    """Return the seed of a trial's training, in [0, 2**31).

    It depends only on the study's seed and the trial's number; neighbouring trials have unrelated seeds.
    """
    digest = hashlib.sha256(f"tunefleet:{study_seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1

"""Seeds that follow from other seeds."""

from __future__ import annotations

import hashlib


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of a trial's training, in [0, 2**31).

    The same for the same study seed and trial number, unlike its neighbours'.
    """
    digest = hashlib.sha256(f"tunefleet:{study_seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1

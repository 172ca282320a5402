"""Which updates are watched: four to a doubling, so that a training of any length keeps a bounded number."""

from __future__ import annotations

PER_DOUBLING = 4  # six in the second and third epoch of any training, since three is 1.58 doublings
EVERY = 128  # of the later ones, so that epochs have a figure; they are reported and not kept

_FIRST = (0, 1, 2, 3, 4, 5, 6)  # below 2^(11/4) the spacing is that of the integers


def is_kept(update: int) -> bool:
    """Whether update number `update`, from 0, is one of the log-spaced ones: round(2^(k/4)) for a whole k."""
    if update <= _FIRST[-1]:
        return update >= 0
    octave = update.bit_length() - 1
    places = range(PER_DOUBLING * octave, PER_DOUBLING * (octave + 1) + 1)
    return any(round(2 ** (place / PER_DOUBLING)) == update for place in places)


def next_watched(update: int) -> int:
    """The first update from `update` on that is watched."""
    while update % EVERY and not is_kept(update):
        update += 1
    return update

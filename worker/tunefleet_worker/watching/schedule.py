"""The schedule of watched updates: four per doubling, so that a training of any length stores a bounded number."""

from __future__ import annotations

PER_DOUBLING = 4  # six in the second and third epoch together: three is 1.58 doublings
EVERY = 128  # later updates, so that each long epoch has a value; these are reported but not stored

_FIRST = (0, 1, 2, 3, 4, 5, 6)  # below 2^(11/4) every integer is one of them


def is_kept(update: int) -> bool:
    """Return True for log-spaced updates, counted from 0: round(2^(k/4)) for an integer k."""
    if update <= _FIRST[-1]:
        return update >= 0
    octave = update.bit_length() - 1
    places = range(PER_DOUBLING * octave, PER_DOUBLING * (octave + 1) + 1)
    return any(round(2 ** (place / PER_DOUBLING)) == update for place in places)


def next_watched(update: int) -> int:
    """Return the first watched update from `update` on."""
    while update % EVERY and not is_kept(update):
        update += 1
    return update

"""Curves of learning-rate schedules: pure functions of the number of updates.

    n       number of updates so far, 0 before the first one
    f(n)    factor on the learning rate (or the momentum itself) for the next update

All curves are closed forms: a schedule resumes from n alone, and equals the paper's up to rounding. torch's classes
instead multiply the rate at each update, and their state holds the base rates, which a trial of a population must not
inherit. The tests compare every curve with torch's class where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Curve = Callable[[int], float]

CYCLE_LOW = 0.25  # Smith 2017, section 3.3: the lower bound is a third or a quarter of the upper one
DIV, FINAL_DIV, RISE = 25.0, 1e4, 0.3  # of 1cycle: the defaults of torch and fastai
MOMENTUM_HIGH, MOMENTUM_LOW = 0.95, 0.85  # of 1cycle: high while the rate is low
COOLDOWN = 0.2  # of all updates: Hägele et al. 2024 find no gain from more


def constant() -> Curve:
    """Return a constant rate."""
    return lambda n: 1.0


def step(period: int, decay: float) -> Curve:
    """Return a curve that is multiplied by `decay` after each `period` updates."""
    return lambda n: decay ** (n // period)


def linear(total: int) -> Curve:
    """Return a straight line to zero after `total` updates."""
    return lambda n: max(0.0, 1.0 - n / total)


def cosine(total: int) -> Curve:
    """Return half a cosine to zero after `total` updates (Loshchilov and Hutter 2017 without restarts)."""
    return lambda n: _cosine(min(n, total) / total)


def sgdr(period: int, growth: int = 1) -> Curve:
    """Return a cosine with warm restarts; cycle i takes T_i = period * growth^i updates.

    Loshchilov and Hutter 2017 (arXiv:1608.03983), equation 5 with eta_min = 0: (1 + cos(pi T_cur / T_i)) / 2. With
    growth 1 and period = ceil(T / M) it is the schedule of snapshot ensembles.
    """

    def at(n: int) -> float:
        cycle, position = restarts_before(n, period, growth=growth)
        return _cosine(position / (period * growth**cycle))

    return at


def restarts_before(n: int, period: int, *, growth: int = 1) -> tuple[int, int]:
    """Return the cycle of SGDR that update n is in, counted from 0, and the number of updates made in it."""
    if growth == 1:
        return divmod(n, period)
    cycle, length, start = 0, period, 0
    while n >= start + length:
        start, length, cycle = start + length, length * growth, cycle + 1
    return cycle, n - start


def snapshots(total: int, cycles: int) -> Curve:
    """Return the curve of a snapshot ensemble: `cycles` equal cosines, with a snapshot at the end of each.

    Huang et al. 2017 (arXiv:1704.00109), equation 2, where t counts from 1: cos(pi mod(t - 1, ceil(T/M)) / ceil(T/M)).
    """
    return sgdr(math.ceil(total / cycles))


def cyclic(half: int, low: float = CYCLE_LOW) -> Curve:
    """Return triangles: from the share `low` of the rate up to the rate in `half` updates, and down again.

    Smith 2017 (arXiv:1506.01186), section 3.1.
    """

    def at(n: int) -> float:
        x = abs(n / half - 2 * math.floor(1 + n / (2 * half)) + 1)
        return low + (1.0 - low) * max(0.0, 1.0 - x)

    return at


def one_cycle(total: int) -> Curve:
    """Return a curve from 1/25 of the rate up to the rate, and down to 1/250,000.

    Smith and Topin 2018 (arXiv:1708.07120), with half cosines, as in torch and fastai.
    """
    return _rise_and_fall(total, begin=1.0 / DIV, top=1.0, end=1.0 / (DIV * FINAL_DIV))


def one_cycle_momentum(total: int) -> Curve:
    """Return the momentum for `one_cycle`: it falls while the rate rises."""
    return _rise_and_fall(total, begin=MOMENTUM_HIGH, top=MOMENTUM_LOW, end=MOMENTUM_HIGH)


def warmup_stable_decay(total: int, cooldown: float = COOLDOWN) -> Curve:
    """Return a constant rate that falls to zero as 1 - sqrt(x) in the last share of the updates.

    Hägele et al. 2024 (arXiv:2405.18392), section 3. Use `with_warmup` for the warm-up.
    """
    start = total - max(1, round(total * cooldown))
    return lambda n: 1.0 if n < start else 1.0 - math.sqrt(min(1.0, (n - start) / (total - start)))


def warmup(updates: int) -> Curve:
    """Return a straight line from 1 / (updates + 1) up to 1 at update number `updates`."""
    return lambda n: min(1.0, (n + 1) / (updates + 1))


def with_warmup(curve: Curve, updates: int) -> Curve:
    """Return a straight line up to the curve's first value, followed by the curve."""
    ramp = warmup(updates)
    return lambda n: ramp(n) * curve(0) if n < updates else curve(n - updates)


def _cosine(x: float) -> float:
    return (1.0 + math.cos(math.pi * x)) / 2.0


def _rise_and_fall(total: int, *, begin: float, top: float, end: float) -> Curve:
    peak, last = RISE * total - 1.0, total - 1.0

    def at(n: int) -> float:
        if n <= peak:
            return top + (begin - top) * _cosine(n / peak if peak > 0 else 1.0)
        return end + (top - end) * _cosine(min(1.0, (n - peak) / (last - peak)))

    return at

"""The curves of schedules match their papers, and torch's classes where there is one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from tunefleet_worker.training import curves
from tunefleet_worker.training.curves import Curve

TOTAL = 200


def torchs(make: Callable[[torch.optim.SGD], LRScheduler], n: int, *, key: str = "lr") -> list[float]:
    """Return the rates of a torch scheduler for n updates, from a learning rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler = make(optimizer)
    trace = []
    for _ in range(n):
        trace.append(optimizer.param_groups[0][key])
        optimizer.step()
        scheduler.step()
    return trace


def trace(curve: Curve, n: int = TOTAL) -> list[float]:
    return [curve(i) for i in range(n)]


@pytest.mark.parametrize("growth", [1, 2, 3])
def test_sgdr_is_equation_5_of_the_paper_to_1e_12(growth: int) -> None:
    period, seen = 10, trace(curves.sgdr(10, growth), 130 * growth)
    length, start = period, 0
    for n, factor in enumerate(seen):
        if n - start == length:
            start, length = n, length * growth
        assert abs(factor - 0.5 * (1.0 + math.cos(math.pi * (n - start) / length))) < 1e-12
    warm = torchs(lambda it: lr_scheduler.CosineAnnealingWarmRestarts(it, period, growth), len(seen))
    assert seen == pytest.approx(warm, abs=1e-12)


def test_snapshots_follow_equation_2_of_their_paper_to_1e_12() -> None:
    total, cycles = 103, 5
    length = math.ceil(total / cycles)
    paper = [0.5 * (math.cos(math.pi * ((t - 1) % length) / length) + 1) for t in range(1, total + 1)]
    assert trace(curves.snapshots(total, cycles), total) == pytest.approx(paper, abs=1e-12)


def test_triangles_are_those_of_smiths_code_and_of_torch() -> None:
    half, low = 25, 0.25

    def paper(n: int) -> float:  # section 3.1
        cycle = math.floor(1 + n / (2 * half))
        return low + (1 - low) * max(0.0, 1 - abs(n / half - 2 * cycle + 1))

    seen = trace(curves.cyclic(half, low))
    assert seen == pytest.approx([paper(n) for n in range(TOTAL)], abs=1e-12)
    assert seen == pytest.approx(
        torchs(lambda it: lr_scheduler.CyclicLR(it, low, 1.0, half, cycle_momentum=False), TOTAL), abs=1e-9
    )
    assert (seen[0], seen[half], seen[2 * half]) == (low, 1.0, low)


def test_one_cycle_moves_rate_and_momentum_as_torch_does() -> None:
    def make(optimizer: torch.optim.SGD) -> LRScheduler:
        return lr_scheduler.OneCycleLR(optimizer, 1.0, TOTAL)

    assert trace(curves.one_cycle(TOTAL)) == pytest.approx([*torchs(make, TOTAL - 1), 1 / 25 / 1e4], abs=1e-12)
    momenta = torchs(make, TOTAL - 1, key="momentum")
    assert trace(curves.one_cycle_momentum(TOTAL), TOTAL - 1) == pytest.approx(momenta, abs=1e-12)
    assert min(momenta) == pytest.approx(0.85)


def test_steps_cosine_and_line_are_torchs() -> None:
    cases: list[tuple[Curve, Callable[[torch.optim.SGD], LRScheduler]]] = [
        (curves.step(30, 0.5), lambda it: lr_scheduler.StepLR(it, 30, 0.5)),
        (curves.cosine(TOTAL), lambda it: lr_scheduler.CosineAnnealingLR(it, TOTAL)),
        (curves.linear(TOTAL), lambda it: lr_scheduler.LinearLR(it, 1.0, 0.0, TOTAL)),
    ]
    for curve, make in cases:
        assert trace(curve) == pytest.approx(torchs(make, TOTAL), abs=1e-9)


def test_warm_up_rises_in_a_line_and_hands_over_where_the_curve_begins() -> None:
    seen = trace(curves.with_warmup(curves.cosine(TOTAL - 9), 9))
    assert seen[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert seen[9:] == pytest.approx(trace(curves.cosine(TOTAL - 9), TOTAL - 9))


def test_stable_phase_keeps_the_rate_and_the_last_fifth_falls_as_one_minus_a_square_root() -> None:
    seen = trace(curves.warmup_stable_decay(TOTAL), TOTAL + 1)
    assert seen[:161] == [1.0] * 161
    assert seen[170] == pytest.approx(1 - math.sqrt(10 / 40))
    assert seen[TOTAL] == 0.0


@pytest.mark.parametrize("total", [1, 2, 3, 4])
def test_the_shortest_trainings_have_rates_too(total: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in (curves.linear, curves.cosine, curves.one_cycle, curves.warmup_stable_decay):
            assert all(0.0 <= factor <= 1.0 for factor in trace(make(total), total + 2))

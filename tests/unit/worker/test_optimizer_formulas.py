"""Optimizers from `build_optimizer` take the steps of their papers, term by term."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from tunefleet_worker.training.optimizers import build_optimizer

Steps = Callable[[float, Callable[[float], float], float], Iterator[float]]
"""Maps a starting point, a gradient function and a rate to the points after each update."""

LR, EPS = 0.05, 1e-8


def gradient(w: float) -> float:
    """Return the gradient of an asymmetric function, w^4 / 4 - w + cos(3 w) / 3."""
    return w**3 - 1 - math.sin(3 * w)


def sgd(w: float, g: Callable[[float], float], lr: float) -> Iterator[float]:
    """Sutskever et al. 2013, momentum 0.9, as in torch: the rate is outside the velocity."""
    v = 0.0
    while True:
        v = 0.9 * v + g(w)
        w -= lr * v
        yield w


def nesterov(w: float, g: Callable[[float], float], lr: float) -> Iterator[float]:
    """The same with Nesterov momentum."""
    v = 0.0
    while True:
        v = 0.9 * v + g(w)
        w -= lr * (g(w) + 0.9 * v)
        yield w


def adagrad(w: float, g: Callable[[float], float], lr: float) -> Iterator[float]:
    """Duchi et al. 2011: division by the root of the sum of squares."""
    total = 0.0
    while True:
        total += g(w) ** 2
        w -= lr * g(w) / (math.sqrt(total) + 1e-10)
        yield w


def rmsprop(w: float, g: Callable[[float], float], lr: float) -> Iterator[float]:
    """Hinton 2012, lecture 6e, with torch's 0.99."""
    square = 0.0
    while True:
        square = 0.99 * square + 0.01 * g(w) ** 2
        w -= lr * g(w) / (math.sqrt(square) + EPS)
        yield w


def adadelta(w: float, g: Callable[[float], float], lr: float) -> Iterator[float]:
    """Zeiler 2012, algorithm 1, rho = 0.9."""
    square, moved = 0.0, 0.0
    while True:
        square = 0.9 * square + 0.1 * g(w) ** 2
        step = math.sqrt(moved + 1e-6) / math.sqrt(square + 1e-6) * g(w)
        moved = 0.9 * moved + 0.1 * step**2
        w -= lr * step
        yield w


def adam(w: float, g: Callable[[float], float], lr: float) -> Iterator[float]:
    """Kingma and Ba 2015, algorithm 1, with both corrections."""
    m, v, t = 0.0, 0.0, 0
    while True:
        t += 1
        m, v = 0.9 * m + 0.1 * g(w), 0.999 * v + 0.001 * g(w) ** 2
        w -= lr * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + EPS)
        yield w


def nadam(w: float, g: Callable[[float], float], lr: float) -> Iterator[float]:
    """Dozat 2016, algorithm 2, with its schedule of the momentum, psi = 0.004."""
    m, v, t, product = 0.0, 0.0, 0, 1.0
    while True:
        t += 1
        now, next_ = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * at)) for at in (t, t + 1))
        product *= now
        m, v = 0.9 * m + 0.1 * g(w), 0.999 * v + 0.001 * g(w) ** 2
        ahead = next_ * m / (1 - product * next_) + (1 - now) * g(w) / (1 - product)
        w -= lr * ahead / (math.sqrt(v / (1 - 0.999**t)) + EPS)
        yield w


def radam(w: float, g: Callable[[float], float], lr: float) -> Iterator[float]:
    """Liu et al. 2020, algorithm 2; the first five updates are not rectified, as in the authors' code."""
    m, v, t, longest = 0.0, 0.0, 0, 2 / (1 - 0.999) - 1
    while True:
        t += 1
        m, v = 0.9 * m + 0.1 * g(w), 0.999 * v + 0.001 * g(w) ** 2
        length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
        step = m / (1 - 0.9**t)
        if length > 5:
            r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            step *= math.sqrt(r) * math.sqrt(1 - 0.999**t) / (math.sqrt(v) + EPS)
        w -= lr * step
        yield w


def asgd(w: float, g: Callable[[float], float], lr: float) -> Iterator[float]:
    """Bottou's 2010 form of Polyak and Juditsky 1992: lambda = 1e-4, eta_t = eta / (1 + lambda eta t)^0.75."""
    t, eta = 0, lr
    while True:
        t += 1
        w = w * (1 - 1e-4 * eta) - eta * g(w)
        eta = lr / (1 + 1e-4 * lr * t) ** 0.75
        yield w


FORMULAS: dict[str, Steps] = {
    it.__name__: it for it in (sgd, nesterov, adagrad, rmsprop, adadelta, adam, nadam, radam, asgd)
}


class Place(nn.Module):
    """One weight, (1, 1), in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([[0.3]], dtype=torch.float64))


def walked(name: str, n: int, *, weight_decay: float = 0.0) -> list[float]:
    place = Place()
    kind = "sgd" if name == "nesterov" else name
    optimizer = build_optimizer(kind, place, lr=LR, weight_decay=weight_decay, nesterov=name == "nesterov")
    seen = []
    for _ in range(n):
        place.at.grad = place.at.detach().clone().apply_(gradient)
        optimizer.step()
        seen.append(place.at.item())
    return seen


@pytest.mark.parametrize("name", FORMULAS)
def test_updates_are_those_of_the_paper(name: str) -> None:
    """Equal to 1e-8: torch stores the factors of NAdam and ASGD in single precision."""
    steps = FORMULAS[name](0.3, gradient, LR)
    assert walked(name, 30) == pytest.approx([next(steps) for _ in range(30)], rel=1e-8)


def test_adamw_decouples_the_decay_and_adam_adds_it_to_the_gradient() -> None:
    """Loshchilov and Hutter 2019, algorithm 2."""
    decay, w, m, v = 0.1, 0.3, 0.0, 0.0
    decoupled = []
    for t in range(1, 31):
        g = gradient(w)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w * (1 - LR * decay) - LR * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + EPS)
        decoupled.append(w)
    coupled = adam(0.3, lambda w: gradient(w) + decay * w, LR)
    assert walked("adamw", 30, weight_decay=decay) == pytest.approx(decoupled, rel=1e-9)
    assert walked("adam", 30, weight_decay=decay) == pytest.approx([next(coupled) for _ in range(30)], rel=1e-9)

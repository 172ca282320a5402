"""Update-to-weight ratios of low, good and high learning rates."""

from __future__ import annotations

import pytest

from tunefleet import LocalTrial
from tunefleet.protocol.telemetry import HOT_START, RATIO_BAND, Telemetry
from tunefleet_worker.tasks.image_classification import image_classification

RATES = {
    "sgd": (1e-5, 1e-4, 1e-3, 1e-2, 5e-2, 2e-1, 1.0, 5.0),
    "adam": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
}


def trained(optimizer: str, lr: float) -> tuple[float, Telemetry]:
    """Return the lowest validation loss of a small network on digits, and its telemetry."""
    trial = LocalTrial(steps=8, options={"dataset": "digits"})
    trial.quiet = True
    image_classification(trial, lr=lr, optimizer=optimizer, model="mlp", width=32, depth=2, normalization="none")
    telemetry = trial.telemetry()
    assert telemetry is not None
    return min(metrics["val_loss"] for _, metrics in trial.reports), telemetry


@pytest.mark.parametrize("optimizer", RATES)
def test_the_best_rates_ratio_lies_in_the_band_useless_rates_below_and_spoiling_ones_above(optimizer: str) -> None:
    runs = {lr: trained(optimizer, lr) for lr in RATES[optimizer]}
    best = min(runs, key=lambda lr: runs[lr][0])
    ratios = {lr: telemetry.typical_ratio() or 0.0 for lr, (_, telemetry) in runs.items()}
    openings = {lr: telemetry.opening_ratio() or 0.0 for lr, (_, telemetry) in runs.items()}
    low, high = RATIO_BAND

    assert 5e-3 <= ratios[best] <= high
    useless = [lr for lr, (loss, _) in runs.items() if lr < best and loss > 2.2]
    spoiled = [lr for lr, (loss, _) in runs.items() if lr > best and loss > 2.2]
    assert len(useless) >= 2
    assert len(spoiled) >= 1
    assert all(ratios[lr] <= low for lr in useless)
    assert all(openings[lr] > HOT_START for lr in spoiled)
    assert openings[best] < HOT_START

"""A schedule sets the rates of its optimizer, and resumes exactly from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tunefleet.catalogue.schedules import NAMES
from tunefleet.errors import InvalidInput
from tunefleet_worker.checkpoints import load_checkpoint, save_checkpoint
from tunefleet_worker.parent_checkpoint import load_parent_checkpoint
from tunefleet_worker.training.optimizers import build_optimizer
from tunefleet_worker.training.schedules import Plateau, Schedule, Shape, build_schedule

OF_CURVES = [name for name in NAMES if name != "grow_batch"]


def make(
    name: str, *, lr: float = 0.2, optimizer: str = "sgd", warmup: int = 0, period: int = 4
) -> tuple[Optimizer, Schedule]:
    made = build_optimizer(optimizer, nn.Linear(2, 2), lr=lr)
    shape = Shape(name=name, total=40, period=period, decay=0.5, growth=2, warmup=warmup)
    return made, build_schedule(made, shape)


def run(optimizer: Optimizer, schedule: Schedule, updates: range) -> list[tuple[float, Any]]:
    """Return rate and momentum of each update; every fourth ends an epoch with a constant loss."""
    seen = []
    for n in updates:
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group.get("betas", group.get("momentum"))))
        optimizer.step()
        schedule.step()
        if n % 4 == 3:
            schedule.end_epoch(1.0)
    return seen


@pytest.mark.parametrize("name", OF_CURVES)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_resumed_schedule_equals_an_uninterrupted_one(name: str, optimizer: str, tmp_path: Path) -> None:
    whole = run(*make(name, optimizer=optimizer, warmup=3, period=1), range(40))
    broken = make(name, optimizer=optimizer, warmup=3, period=1)
    first = run(*broken, range(17))
    path = tmp_path / "checkpoint"
    save_checkpoint(path, step=0, objects=dict(zip("os", broken, strict=True)), progress={})
    resumed = make(name, optimizer=optimizer, warmup=3, period=1)
    load_checkpoint(path, objects=dict(zip("os", resumed, strict=True)))
    assert first + run(*resumed, range(17, 40)) == whole


@pytest.mark.parametrize("name", OF_CURVES)
def test_a_schedule_of_another_trials_checkpoint_goes_on_from_the_trials_own_rate(name: str, tmp_path: Path) -> None:
    parent = make(name, lr=0.2, period=1)
    run(*parent, range(20))
    path = tmp_path / "checkpoint"
    save_checkpoint(path, step=0, objects=dict(zip("os", parent, strict=True)), progress={})
    heir = make(name, lr=0.6, period=1)
    load_parent_checkpoint(path, objects=dict(zip("os", heir, strict=True)))
    rates = [[rate for rate, _ in run(*each, range(20, 40))] for each in (heir, parent)]
    assert rates[0] == pytest.approx([3 * rate for rate in rates[1]], rel=1e-12)


def test_plateau_decides_as_torchs_does() -> None:
    losses = [1.0, 0.9, 0.95, 0.92, 0.91, 0.89995, 0.8, 0.8, 0.8, 0.8, 0.7, 0.71, 0.72, 0.73]
    ours, schedule = make("plateau", period=2)
    assert isinstance(schedule, Plateau)
    theirs, _ = make("constant")
    reference = ReduceLROnPlateau(theirs, factor=0.5, patience=2)
    for loss in losses:
        schedule.end_epoch(loss)
        reference.step(loss)
        assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
    assert ours.param_groups[0]["lr"] == 0.2 / 8


def test_one_cycle_moves_the_momentum_of_sgd_and_the_first_beta_of_adam() -> None:
    assert run(*make("1cycle"), range(40))[11][1] == pytest.approx(0.85)
    assert run(*make("1cycle", optimizer="adamw"), range(40))[11][1] == pytest.approx((0.85, 0.999))
    assert {momentum for _, momentum in run(*make("cosine"), range(40))} == {0.9}


def test_seeking_equals_stepping() -> None:
    for name in ("sgdr", "1cycle", "wsd"):
        (stepped, schedule), (sought, other) = make(name), make(name)
        run(stepped, schedule, range(13))
        other.seek(13)
        assert stepped.param_groups[0]["lr"] == sought.param_groups[0]["lr"]
        assert stepped.param_groups[0]["momentum"] == sought.param_groups[0]["momentum"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "cosin"}, r"schedule = 'cosin': there is no such schedule; did you mean 'cosine'"),
        ({"name": "step"}, r"period: is required by the schedule 'step', at least 1: after how many epochs"),
        ({"name": "sgdr", "period": 0}, r"period = 0: is required by the schedule 'sgdr', at least 1"),
        ({"name": "step", "period": 3, "decay": 1.0}, r"decay = 1\.0: must be above 0 and below 1"),
        ({"name": "cosine", "warmup": 10}, r"warmup = 10: must be below the 10 updates of the training"),
    ],
)
def test_a_schedule_without_its_lengths_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Shape(**{"total": 10, **fields})


def test_growing_batches_need_their_plan() -> None:
    with pytest.raises(InvalidInput, match="takes its rates from a BatchPlan"):
        make("grow_batch")


def test_schedules_step_after_the_optimizer_without_a_warning() -> None:
    optimizer, schedule = make("cosine")
    run(optimizer, schedule, range(3))
    assert optimizer.param_groups[0]["lr"] < 0.2

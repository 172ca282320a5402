"""The built-in task: every schedule and average resumes exactly, and each parameter has an effect."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from tunefleet.catalogue.schedules import NAMES
from tunefleet.errors import InvalidInput
from tunefleet.trial.local_trial import LocalTrial
from tunefleet_worker.checkpoints import load_checkpoint, save_checkpoint
from tunefleet_worker.parent_checkpoint import load_parent_checkpoint
from tunefleet_worker.tasks.image_classification import image_classification
from tunefleet_worker.tasks.models import ModelConfig, build_model
from tunefleet_worker.tasks.training import Training, TrainingConfig
from tunefleet_worker.training.determinism import make_deterministic
from tunefleet_worker.training.epochs import Score, score
from tunefleet_worker.training.precision import compile_model, mixed_precision
from tunefleet_worker.training.samples import Samples

EPOCHS = 5
NETWORK = {"kind": "mlp", "input_shape": (1, 8), "classes": 3, "width": 8, "depth": 3, "dropout": 0.1}


def data() -> Samples:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(90, 1, 8, generator=generator)
    return Samples(inputs, (inputs[:, 0, :3].argmax(1)))


def begin(**fields: Any) -> Training:
    torch.manual_seed(0)
    changes: dict[str, Any] = {name: fields.pop(name) for name in ("residual", "kind") if name in fields}
    given: dict[str, Any] = {"epochs": EPOCHS, "lr": 0.01, "batch_size": 8}
    config = TrainingConfig.parse(given | fields)
    return Training(build_model(ModelConfig.parse({**NETWORK, **changes})), config, n_samples=90)


def run(training: Training, epochs: range) -> list[tuple[Score, Score]]:
    curve = []
    for epoch in epochs:
        trained = training.run_epoch(epoch, data())
        judged = score(training.judged, data())
        training.end_epoch(1.0 if epoch > 1 else 2.0 - epoch)  # the loss that plateau waits for
        curve.append((trained, judged))
    return curve


CASES: list[dict[str, Any]] = [
    *({"schedule": name, "period": 1, "decay": 0.5, "warmup": 0.5} for name in NAMES),
    {"averaging": "ema"},
    {"averaging": "swa", "schedule": "cyclic", "period": 1},
    {"averaging": "ema", "schedule": "1cycle", "optimizer": "muon", "clip_percentile": 90},
    {"mixup": 0.4, "label_smoothing": 0.1, "l1": 1e-3, "clip_percentile": 80, "residual": True, "kind": "cnn"},
    {"optimizer": "sgd", "nesterov": True, "schedule": "sgdr", "period": 1, "cycle_growth": 2},
]


@pytest.mark.parametrize("fields", CASES, ids=str)
def test_resumed_training_equals_an_uninterrupted_one(fields: dict[str, Any], tmp_path: Path) -> None:
    whole = begin(**fields)
    curve = run(whole, range(EPOCHS))
    broken = begin(**fields)
    first = run(broken, range(3))
    save_checkpoint(tmp_path / "it", step=2, objects=broken.stateful, progress={})
    resumed = begin(**fields)
    load_checkpoint(tmp_path / "it", objects=resumed.stateful)
    assert first + run(resumed, range(3, EPOCHS)) == curve
    ends = [it.judged.state_dict().values() for it in (whole, resumed)]
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_member_of_a_population_continues_at_its_own_rate_and_batch_size(tmp_path: Path) -> None:
    parent = begin(schedule="cosine", batch_size=8)
    run(parent, range(3))
    save_checkpoint(tmp_path / "it", step=2, objects=parent.stateful, progress={})
    heir, alone = (begin(schedule="cosine", batch_size=30, lr=0.04) for _ in range(2))
    load_parent_checkpoint(tmp_path / "it", objects=heir.stateful)
    for each in (heir, alone):
        each.run_epoch(3, data())
    rates = [it.optimizer.param_groups[0]["lr"] for it in (heir, alone)]
    assert rates[0] == rates[1] > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "cosine"},
        {"warmup": 1.0},
        {"label_smoothing": 0.2},
        {"mixup": 0.3},
        {"l1": 0.01},
        {"clip_percentile": 50},
        {"averaging": "ema"},
        {"averaging": "swa"},
        {"optimizer": "muon"},
        {"residual": True},
    ],
    ids=str,
)
def test_every_parameter_changes_the_training(fields: dict[str, Any]) -> None:
    assert run(begin(**fields), range(EPOCHS)) != run(begin(), range(EPOCHS))


def test_growing_batches_make_fewer_updates_at_the_same_rate() -> None:
    growing = begin(schedule="grow_batch", period=2, decay=0.9, batch_size=8)
    run(growing, range(EPOCHS))
    assert growing.schedule.last_epoch < EPOCHS * 11
    assert growing.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * 0.81 * 9 / 8, rel=1e-6)


def test_share_of_clipped_updates_is_reported_where_clipping_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    training = begin(clip_percentile=30)
    run(training, range(EPOCHS))
    assert 0.5 < training.metrics["clipped_share"] < 1
    assert "lower the learning rate instead" in capsys.readouterr().out
    assert begin().metrics == {}


def test_mixed_precision_and_compilation_change_nothing_on_the_cpu() -> None:
    assert run(begin(precision="mixed"), range(2)) == run(begin(), range(2))
    model = build_model(ModelConfig.parse(NETWORK))
    assert compile_model(model, "cpu") is model
    with mixed_precision("cpu"):
        assert model(torch.randn(2, 1, 8)).dtype is torch.float32


def test_the_same_seed_gives_the_same_run() -> None:
    was = torch.are_deterministic_algorithms_enabled()
    ends = []
    try:
        for seed in (3, 3, 4):
            make_deterministic(seed)
            model = build_model(ModelConfig.parse(NETWORK))
            ends.append(copy.deepcopy(model.state_dict()))
    finally:
        torch.use_deterministic_algorithms(was)
    same, other = ([torch.equal(a, b) for a, b in zip(ends[0].values(), it.values(), strict=True)] for it in ends[1:])
    assert all(same)
    assert not all(other)


def test_task_takes_all_of_it_and_asks_for_its_steps() -> None:
    trial = LocalTrial(2, options={"dataset": "digits"})
    trial.quiet = True
    fields: dict[str, Any] = {"schedule": "sgdr", "period": 1, "averaging": "swa", "residual": True, "mixup": 0.2}
    image_classification(trial, lr=3e-3, model="mlp", width=16, clip_percentile=90.0, **fields)
    assert {"clipped_share", "val_loss"} <= trial.reports[-1][1].keys()
    with pytest.raises(InvalidInput, match="steps: is required by the task"):
        image_classification(LocalTrial(options={"dataset": "digits"}), lr=3e-3)
    with pytest.raises(InvalidInput, match="period: is required by the schedule 'step'"):
        image_classification(LocalTrial(2, options={"dataset": "digits"}), lr=3e-3, schedule="step")

"""A resumed run equals an uninterrupted one, and an invalid checkpoint is refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from tunefleet.trial.seeding import seed_everything
from tunefleet_worker.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

OPTIMIZERS: Mapping[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, amsgrad=True),
    "adamw, fused": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, fused=True),
    "adamw, lr in a tensor": lambda parameters: torch.optim.AdamW(parameters, lr=torch.tensor(1e-3), foreach=False),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3, centered=True),
    "nadam": lambda parameters: torch.optim.NAdam(parameters, lr=1e-3),
    "radam": lambda parameters: torch.optim.RAdam(parameters, lr=1e-3),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=1e-2),
    "adadelta": lambda parameters: torch.optim.Adadelta(parameters),
    "asgd": lambda parameters: torch.optim.ASGD(parameters, lr=1e-2, t0=2),
    "rprop": lambda parameters: torch.optim.Rprop(parameters, lr=1e-3),
    "adamax": lambda parameters: torch.optim.Adamax(parameters),
}

SCHEDULERS: Mapping[str, Callable[[Optimizer], Any]] = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2),
    "milestones": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [1, 3, 3]),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 6),
    "restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
    "cyclic": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 1e-3, 1e-1, step_size_up=2),
    "warm-up": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2), lr_scheduler.ExponentialLR(optimizer, 0.9)],
        milestones=[2],
    ),
    "average": lambda optimizer: torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.01, anneal_epochs=3),
}


class Run:
    """A small training run; every part draws random numbers."""

    def __init__(self, optimizer: str) -> None:
        seed_everything(3)
        inputs = torch.randn(48, 1, 8, 8)
        self.model = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.scheduler = lr_scheduler.CosineAnnealingLR(self.optimizer, 6)
        self.noise = torch.Generator().manual_seed(5)
        self.augment = np.random.default_rng(5)
        self.choose = random.Random(5)
        self.loader = DataLoader(TensorDataset(inputs, torch.arange(48) % 3), batch_size=16, shuffle=True)

    @property
    def objects(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("model", "optimizer", "scheduler", "noise", "augment", "choose")}

    def epoch(self) -> list[float]:
        losses = []
        for inputs, labels in self.loader:
            shift = float(self.augment.normal()) + self.choose.random() + random.random() + float(np.random.rand())  # noqa: NPY002
            noisy = inputs + shift * torch.randn(inputs.shape, generator=self.noise)
            loss = nn.functional.cross_entropy(self.model(noisy), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        self.scheduler.step()
        return losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(optimizer: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    unbroken = Run(optimizer)
    losses = [unbroken.epoch() for _ in range(4)]

    broken = Run(optimizer)
    first = [broken.epoch() for _ in range(2)]
    save_checkpoint(path, step=2, objects=broken.objects, progress={"best": float("-inf")})
    resumed = Run(optimizer)
    resumed.epoch()
    checkpoint = load_checkpoint(path, objects=resumed.objects)
    second = [resumed.epoch() for _ in range(2)]

    assert checkpoint.step == 2
    assert checkpoint.progress == {"best": float("-inf")}
    assert first + second == losses
    for ours, theirs in zip(resumed.model.state_dict().values(), unbroken.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_scheduler_goes_on_where_it_was(scheduler: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"

    def fresh() -> tuple[Optimizer, Any]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
        return optimizer, SCHEDULERS[scheduler](optimizer)

    def rates(optimizer: Optimizer, schedule: Any, steps: int) -> Iterator[float]:
        for _ in range(steps):
            optimizer.step()
            schedule.step(*([1.0] if scheduler == "plateau" else []))
            yield optimizer.param_groups[0]["lr"]

    unbroken, broken, resumed = fresh(), fresh(), fresh()
    expected = list(rates(*unbroken, 8))
    list(rates(*broken, 3))
    save_checkpoint(path, step=3, objects={"optimizer": broken[0], "scheduler": broken[1]}, progress={})
    load_checkpoint(path, objects={"optimizer": resumed[0], "scheduler": resumed[1]})
    assert list(rates(*resumed, 5)) == expected[3:]


def test_lbfgs_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"

    def step(point: nn.Parameter, optimizer: Optimizer) -> list[float]:
        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            value = (1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2
            value.backward()
            return value

        optimizer.step(loss)  # type: ignore[arg-type]
        return [*point.tolist()]

    def fresh() -> tuple[nn.Parameter, Optimizer]:
        point = nn.Parameter(torch.tensor([-1.0, 1.5]))
        return point, torch.optim.LBFGS([point], max_iter=3)

    unbroken, broken, resumed = fresh(), fresh(), fresh()
    expected = [step(*unbroken) for _ in range(4)]
    for _ in range(2):
        step(*broken)
    save_checkpoint(path, step=2, objects={"optimizer": broken[1]}, progress={})
    load_checkpoint(path, objects={"optimizer": resumed[1]})
    resumed[0].data.copy_(broken[0].data)
    assert [step(*resumed) for _ in range(2)] == expected[2:]


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 64)
        self.b.weight = self.a.weight


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    model, other = Tied(), Tied()
    save_checkpoint(path, step=0, objects={"model": model}, progress={})
    load_checkpoint(path, objects={"model": other})
    assert torch.equal(other.b.weight, model.a.weight)
    assert other.a.weight is other.b.weight
    assert path.stat().st_size < 2 * 64 * 64 * 4 + 20_000


def test_gradient_scaler_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    scaler, other = torch.amp.GradScaler("cpu", init_scale=4096.0), torch.amp.GradScaler("cpu")
    save_checkpoint(path, step=0, objects={"scaler": scaler}, progress={})
    load_checkpoint(path, objects={"scaler": other})
    assert other.get_scale() == 4096.0


@pytest.mark.parametrize("kind", ["PCG64", "MT19937", "Philox", "SFC64"])
def test_any_numpy_generator_is_restored(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    generator, other = (np.random.Generator(getattr(np.random, kind)(seed)) for seed in (1, 2))
    generator.random(7)
    save_checkpoint(path, step=0, objects={"generator": generator}, progress={})
    load_checkpoint(path, objects={"generator": other})
    assert other.random(5).tolist() == generator.random(5).tolist()


def test_restored_state_does_not_hang_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    parameter = nn.Parameter(torch.ones(1000))
    optimizer, other = torch.optim.Adam([parameter]), torch.optim.Adam([parameter])
    parameter.grad = torch.ones(1000)
    optimizer.step()
    save_checkpoint(path, step=0, objects={"optimizer": optimizer}, progress={})
    load_checkpoint(path, objects={"optimizer": other})
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(other.state[parameter]["exp_avg"], optimizer.state[parameter]["exp_avg"])


def test_object_that_the_file_lacks_is_named_and_nothing_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    generator = torch.Generator().manual_seed(1)
    save_checkpoint(path, step=0, objects={"noise": generator}, progress={})
    state = generator.get_state()
    generator.manual_seed(2)
    with pytest.raises(CheckpointError, match="no state for optimizer; it holds noise"):
        load_checkpoint(path, objects={"noise": generator, "optimizer": nn.Linear(1, 1)})
    assert not torch.equal(generator.get_state(), state)


def test_state_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, step=0, objects={"model": nn.Linear(2, 2)}, progress={})
    with pytest.raises(CheckpointError, match=r"the state of 'model' in .* does not fit the object: .*size mismatch"):
        load_checkpoint(path, objects={"model": nn.Linear(3, 2)})


def test_object_without_a_state_is_refused_by_name(tmp_path: Path) -> None:
    nothing: Any = object()
    with pytest.raises(CheckpointError, match="cannot hold 'thing', a value of type 'object'"):
        save_checkpoint(tmp_path / "checkpoint.safetensors", step=0, objects={"thing": nothing}, progress={})


class Stubborn:
    """An object with an arbitrary state."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return {"layers": [self.state]}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self.state = state_dict["layers"][0]


def test_state_that_cannot_be_stored_is_named_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, step=1, objects={}, progress={})
    with pytest.raises(CheckpointError, match=r"cannot hold objects\.mine\.layers\[0\]: .*'function'"):
        save_checkpoint(path, step=2, objects={"mine": Stubborn(lambda: 0)}, progress={})
    assert load_checkpoint(path, objects={}).step == 1
    assert list(tmp_path.iterdir()) == [path]


def test_state_that_contains_itself_is_refused(tmp_path: Path) -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(CheckpointError, match="contains itself"):
        save_checkpoint(tmp_path / "c.safetensors", step=0, objects={"mine": Stubborn(circle)}, progress={})


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "absent" / "c.safetensors", step=0, objects={}, progress={})


def test_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*c\.safetensors"):
        load_checkpoint(tmp_path / "c.safetensors", objects={})


def test_every_truncation_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, step=0, objects={"model": nn.Linear(2, 2)}, progress={})
    content = path.read_bytes()
    for length in (0, 7, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="is corrupt"):
            load_checkpoint(path, objects={"model": nn.Linear(2, 2)})


def test_safetensors_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_checkpoint(path, objects={})


@pytest.mark.parametrize("tree", ["{", "[]", '{"step": 1}', '{"step": {"$": "nonsense"}}'])
def test_file_with_a_broken_tree_is_corrupt(tree: str, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_file({}, path, metadata={"format": "tunefleet.checkpoint/1", "tree": tree})
    with pytest.raises(CheckpointError, match="is corrupt"):
        load_checkpoint(path, objects={})

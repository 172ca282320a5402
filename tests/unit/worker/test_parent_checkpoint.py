"""A trial of a population resumes from another trial's checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch

from tunefleet.errors import InvalidInput
from tunefleet.protocol import Lease
from tunefleet_worker.attempt_folder import AttemptFolder, StoredLease
from tunefleet_worker.checkpoints import save_checkpoint
from tunefleet_worker.context import WorkerTrial
from tunefleet_worker.orders import OrderReceiver
from tunefleet_worker.parent_checkpoint import load_parent_checkpoint
from tunefleet_worker.spool import FileRecord, ReportRecord, SpoolReader, SpoolWriter


class Segment:
    """A trial of a population in its own folder, with its records."""

    def __init__(self, folder: Path, lease: Lease, *, parent: Path | None = None) -> None:
        self.folder = AttemptFolder.create(folder, StoredLease(url="http://127.0.0.1:1", lease=lease))
        if parent is not None:
            parent.rename(self.folder.resume)
        self.pipe, theirs = Pipe()
        self.spool = SpoolWriter(self.folder.spool)
        self.reader = SpoolReader(self.folder.spool)
        self.trial = WorkerTrial(lease, self.folder, spool=self.spool, orders=OrderReceiver(theirs))

    def records(self) -> tuple[list[int], dict[str, Path]]:
        """Return the reported steps, and the newest file of each name."""
        records = [record for _, record in self.reader.read()]
        steps = [record.step for record in records if isinstance(record, ReportRecord)]
        return steps, {it.name: self.folder.files / it.file for it in records if isinstance(it, FileRecord)}


@pytest.fixture
def segment(tmp_path, lease) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def make(number: int, until: int | None, *, lr: float = 0.1, parent: Path | None = None) -> Segment:
            changes = {"params": {"lr": lr}, "steps": 6, "until": until, "resume_from": 1 if parent else None}
            fields = lease(number).model_dump() | changes
            made = Segment(tmp_path / str(number), Lease.parse(fields), parent=parent)
            stack.callback(made.spool.close)
            stack.callback(made.pipe.close)
            return made

        yield make


def train(trial: WorkerTrial, *, schedules: bool = False) -> list[float]:
    """Train with momentum; return the learning rate of each step."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=float(str(trial.params["lr"])), momentum=0.9)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5) if schedules else None
    rates = []
    objects: dict[str, Any] = {"model": model, "optimizer": optimizer} | ({"schedule": schedule} if schedule else {})
    for _ in trial.epochs(**objects):
        rates.append(optimizer.param_groups[0]["lr"])
        loss = model(torch.ones(1, 2)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule:
            schedule.step()
        trial.report(loss=loss)
    trial.finish()
    return rates


def test_segment_ends_at_its_limit_and_the_next_one_resumes_from_its_checkpoint(segment) -> None:
    first = segment(1, 4)
    train(first.trial)
    steps, files = first.records()
    assert steps == [0, 1, 2, 3]
    assert first.trial.steps == 6
    second = segment(2, 6, parent=files["checkpoint.safetensors"])
    train(second.trial)
    steps, files = second.records()
    assert steps == [4, 5]
    assert "checkpoint.safetensors" not in files  # no trial continues after the last step


def test_segment_stores_its_own_model_even_if_the_parents_was_better(segment) -> None:
    first = segment(1, 4)
    model = torch.nn.Linear(1, 1)
    for _ in first.trial.epochs(model=model):
        first.trial.report(loss=0.1)
    checkpoint = first.records()[1]["checkpoint.safetensors"]
    second = segment(2, 6, parent=checkpoint)
    for _ in second.trial.epochs(model=model):
        second.trial.report(loss=0.5)
    second.trial.finish()
    assert "model.safetensors" in second.records()[1]


def test_parent_checkpoint_restores_momentum_and_keeps_the_trials_learning_rate(segment) -> None:
    first = segment(1, 4, lr=0.1)
    assert train(first.trial) == [0.1] * 4
    second = segment(2, 6, lr=0.3, parent=first.records()[1]["checkpoint.safetensors"])
    assert train(second.trial) == [0.3] * 2


def test_a_schedule_goes_on_where_it_was_from_the_trials_own_rate(segment) -> None:
    first = segment(1, 4, lr=0.1)
    assert train(first.trial, schedules=True) == pytest.approx([0.1, 0.05, 0.025, 0.0125])
    second = segment(2, 6, lr=0.2, parent=first.records()[1]["checkpoint.safetensors"])
    assert train(second.trial, schedules=True) == pytest.approx([0.2 / 16, 0.2 / 32])


def test_segment_without_stateful_objects_is_refused_at_once(segment) -> None:
    with pytest.raises(InvalidInput, match="pass what training changes"):
        list(segment(1, 4).trial.epochs())


def test_moments_are_restored_and_options_are_not(tmp_path) -> None:
    def made(lr: float, weight_decay: float) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Linear(2, 1)
        return model, torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)

    model, optimizer = made(0.1, 0.01)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    objects: dict[str, Any] = {"model": model, "optimizer": optimizer}
    save_checkpoint(tmp_path / "c", step=3, objects=objects, progress={})
    other_model, other = made(0.2, 0.5)
    assert load_parent_checkpoint(tmp_path / "c", objects={"model": other_model, "optimizer": other}).step == 3
    assert (other.param_groups[0]["lr"], other.param_groups[0]["weight_decay"]) == (0.2, 0.5)
    mine, its = (next(iter(each.state_dict()["state"].values())) for each in (optimizer, other))
    assert torch.equal(mine["exp_avg"], its["exp_avg"])
    assert torch.equal(next(model.parameters()), next(other_model.parameters()))

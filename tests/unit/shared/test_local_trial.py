"""LocalTrial: a training function without a master."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import tunefleet
from tunefleet.errors import InvalidInput
from tunefleet.protocol.telemetry import Telemetry
from tunefleet.trial.trial import Trial


def train(trial: Trial, lr: float) -> None:
    for epoch in trial.epochs():
        trial.report(train_loss=lr + random.random() + float(np.random.rand()))  # noqa: NPY002
        trial.report(val_loss=epoch)


def test_reports_are_kept_one_for_each_step() -> None:
    trial = tunefleet.LocalTrial(steps=3)
    train(trial, lr=0.1)
    assert [step for step, _ in trial.reports] == [0, 1, 2]
    assert set(trial.reports[0][1]) == {"train_loss", "val_loss"}


def test_the_same_seed_gives_the_same_curve() -> None:
    curves = []
    for seed in (1, 1, 2):
        trial = tunefleet.LocalTrial(steps=3, seed=seed)
        train(trial, lr=0.1)
        curves.append(trial.reports)
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_a_line_is_printed_for_each_step_with_all_its_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    trial = tunefleet.LocalTrial(steps=2)
    for _ in trial.epochs():
        trial.report(a=0.25)
        trial.report(b=1e-7)
    trial.report(c=3, step=5)
    assert capsys.readouterr().out == "step 1/2  a 0.25  b 1e-07\nstep 2/2  a 0.25  b 1e-07\nstep 6/2  c 3\n"


def test_reports_without_epochs_are_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    trial = tunefleet.LocalTrial()
    trial.report(loss=2)
    trial.report(loss=1)
    assert capsys.readouterr().out == "step 1  loss 2\nstep 2  loss 1\n"
    trial.quiet = True
    trial.report(loss=0)
    assert capsys.readouterr().out == ""
    assert len(trial.reports) == 3


def test_saved_files_are_copied_into_the_folder(tmp_path: Path) -> None:
    file = tmp_path / "made.txt"
    file.write_text("x")
    trial = tunefleet.LocalTrial(folder=tmp_path / "out")
    trial.save("kept.txt", file)
    file.unlink()
    assert (tmp_path / "out" / "kept.txt").read_text() == "x"
    trial.save("kept.txt", tmp_path / "out" / "kept.txt")
    with pytest.raises(InvalidInput):
        trial.save("../x", tmp_path / "out" / "kept.txt")


def test_the_temporary_folder_is_deleted_with_the_trial() -> None:
    trial = tunefleet.LocalTrial()
    folder = trial.folder
    assert folder.is_dir()
    del trial
    assert not folder.exists()


def test_a_trial_without_steps_explains_how_to_set_them() -> None:
    with pytest.raises(InvalidInput, match="epochs"):
        next(tunefleet.LocalTrial().epochs())


def test_a_notebook_has_the_watch_too_and_its_file() -> None:
    import torch

    trial = tunefleet.LocalTrial(steps=2)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert trial.telemetry() is None
    trial.watch(model, optimizer)
    for _ in trial.epochs():
        model(torch.ones(4, 3)).sum().backward()
        optimizer.step()
        trial.report(loss=1)
    telemetry = trial.telemetry()
    assert telemetry is not None
    assert (telemetry.updates, telemetry.epoch) == (2, [0, 1])
    assert "watch.update_ratio" in trial.reports[-1][1]
    assert Telemetry.model_validate_json((trial.folder / "telemetry.json").read_bytes()) == telemetry
    assert not model._forward_hooks


def test_hooks_are_removed_with_a_trial_that_counts_no_epochs() -> None:
    import torch

    trial = tunefleet.LocalTrial()
    model = torch.nn.Linear(3, 1)
    trial.watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert model._forward_hooks
    del trial
    assert not model._forward_hooks

"""A worker's trial: spool, checkpoints, resuming and orders."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from multiprocessing import Pipe
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tunefleet.errors import InvalidInput
from tunefleet.protocol import Lease
from tunefleet.protocol.telemetry import Telemetry
from tunefleet.trial.trial import TrialStopped
from tunefleet_worker.attempt_folder import AttemptFolder, StoredLease
from tunefleet_worker.context import TrialDrained, WorkerTrial
from tunefleet_worker.orders import Order, OrderReceiver, OrderSender
from tunefleet_worker.spool import FileRecord, ReportRecord, SpoolReader, SpoolWriter


class Setting:
    """The folder of an attempt, with both ends of its pipe."""

    def __init__(self, folder, lease: Lease) -> None:
        self.lease = lease
        self.folder = AttemptFolder.create(folder, StoredLease(url="http://127.0.0.1:1", lease=lease))
        ours, theirs = Pipe()
        self.line = OrderSender(ours)
        self.spool = SpoolWriter(self.folder.spool)
        self.reader = SpoolReader(self.folder.spool)
        self.orders = OrderReceiver(theirs)

    def trial(self, **options: Any) -> WorkerTrial:
        return WorkerTrial(self.lease, self.folder, spool=self.spool, orders=self.orders, **options)

    def records(self, kind: type) -> list[Any]:
        return [record for _, record in self.reader.read() if isinstance(record, kind)]

    def close(self) -> None:
        self.spool.close()
        self.line.close()
        self.orders._connection.close()


@pytest.fixture
def setting(tmp_path, lease) -> Iterator[Any]:
    made: list[Setting] = []

    def make(**changes):
        fields = lease(1).model_dump() | {"params": {"lr": 0.1}, "steps": 4} | changes
        made.append(Setting(tmp_path / str(len(made)), Lease.parse(fields)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_trial_has_what_its_lease_says(setting):
    trial = setting(seed=5, attempt=2).trial()
    assert (trial.number, trial.seed, trial.steps, trial.attempt, trial.device) == (1, 5, 4, 2, "cpu")
    assert dict(trial.params) == {"lr": 0.1}
    assert trial.folder.is_dir()


def test_reports_of_a_step_are_merged_and_each_goes_to_the_spool(setting):
    here = setting()
    trial = here.trial()
    for step in trial.epochs(2):
        trial.report(loss=step + 0.5)
        trial.report({"val/acc": torch.tensor(0.25)})
    assert here.records(ReportRecord) == [
        ReportRecord(0, {"loss": 0.5}),
        ReportRecord(0, {"loss": 0.5, "val/acc": 0.25}),
        ReportRecord(1, {"loss": 1.5}),
        ReportRecord(1, {"loss": 1.5, "val/acc": 0.25}),
    ]


def test_each_report_notifies_the_agent(setting):
    here = setting()
    here.trial().report(loss=1)
    assert os.read(here.line.file, 10) == b"."


def test_trial_continues_without_an_agent(setting):
    here = setting()
    trial = here.trial()
    for step in range(70_000):  # more notifications than the pipe holds
        trial.report(loss=1.0, step=step)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda trial: trial.report({"a b": 1}), "a metric's name begins with"),
        (lambda trial: trial.report(loss="low"), "report.loss = 'low': a metric's value is one number"),
        (lambda trial: trial.report(loss=torch.zeros(2)), "one number"),
        (lambda trial: trial.report(loss=1, step=-1), "a step is an integer from 0"),
        (
            lambda trial: (trial.report(loss=1, step=3), trial.report(loss=1, step=2)),
            "must not be below 3, the last reported step",
        ),
        (lambda trial: trial.save("../x", "y"), "a name begins with"),
        (lambda trial: trial.save("x", "/nowhere/y"), "there is no file /nowhere/y"),
        (lambda trial: trial.epochs(0), "at least one step"),
        (lambda trial: (list(trial.epochs()), trial.epochs()), "one loop of epochs"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(setting, call, says):
    with pytest.raises(InvalidInput, match=says):
        call(setting().trial())


def test_epochs_need_to_know_how_many(setting):
    with pytest.raises(InvalidInput, match="Set `steps` in the study"):
        setting(steps=None).trial().epochs()


def test_outside_of_epochs_every_report_is_a_step_of_its_own(setting):
    here = setting()
    trial = here.trial()
    trial.report(loss=1)
    trial.report(loss=2)
    assert [record.step for record in here.records(ReportRecord)] == [0, 1]


def test_a_stop_ends_the_trial_at_its_next_report_past_every_except_exception(setting):
    here = setting()
    trial = here.trial()
    here.line.send(Order("stop", "pruned"))

    def train():
        for _ in trial.epochs():
            with contextlib.suppress(Exception):
                trial.report(loss=1)

    with pytest.raises(TrialStopped, match="pruned"):
        train()
    assert len(here.records(ReportRecord)) == 1


def test_a_drain_saves_a_checkpoint_at_the_end_of_the_epoch_and_stops_there(setting):
    here = setting()
    trial, model = here.trial(), torch.nn.Linear(2, 2)
    seen = []

    def train():
        for step in trial.epochs(model=model):
            here.line.send(Order("drain"))
            trial.report(loss=1)
            seen.append(step)

    with pytest.raises(TrialDrained):
        train()
    assert seen == [0]
    assert trial.is_drained
    assert [record.name for record in here.records(FileRecord)] == ["model.safetensors", "checkpoint.safetensors"]


def test_without_epochs_a_drain_ends_the_trial_at_its_next_report(setting):
    here = setting()
    here.line.send(Order("drain"))
    with pytest.raises(TrialDrained):
        here.trial().report(loss=1)


def test_drain_after_the_last_epoch_lets_the_function_return(setting):
    here = setting()
    trial = here.trial()
    for _ in trial.epochs(1, model=torch.nn.Linear(2, 2)):
        here.line.send(Order("drain"))
    assert not trial.is_drained


def test_nothing_is_saved_when_there_is_nothing_to_save(setting):
    here = setting()
    list(here.trial(checkpoint_every_s=0).epochs())
    assert here.records(FileRecord) == []


def test_checkpoints_are_written_no_more_often_than_wanted(setting):
    here = setting()
    list(here.trial(checkpoint_every_s=1000).epochs(model=torch.nn.Linear(2, 2)))
    assert here.records(FileRecord) == []


def test_of_many_checkpoints_only_the_newest_two_are_on_the_disk(setting):
    here = setting()
    list(here.trial(checkpoint_every_s=0).epochs(10, model=torch.nn.Linear(2, 2)))
    names = [record.file for record in here.records(FileRecord)]
    assert len(names) == 9
    assert sorted(path.name for path in here.folder.files.iterdir()) == names[-2:]


def run(trial, *, stop_after=None):
    """Train with momentum, dropout and shuffling; return the losses."""
    torch.manual_seed(trial.seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in trial.epochs(model=model, optimizer=optimizer):
        inputs = torch.randn(16, 4)
        loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((step, loss.item()))
        trial.report(loss=loss)
        if step == stop_after:
            break
    trial.finish()
    return losses


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(setting):
    whole = run(setting(steps=6).trial())
    first = setting(steps=6)
    begun = run(first.trial(checkpoint_every_s=0), stop_after=3)
    second = setting(steps=6, attempt=2)
    checkpoint = [record for record in first.records(FileRecord) if record.name == "checkpoint.safetensors"][-1]
    (first.folder.files / checkpoint.file).rename(second.folder.resume)
    resumed = run(second.trial())
    assert [step for step, _ in begun] == [0, 1, 2, 3]
    assert [step for step, _ in resumed] == [3, 4, 5]
    assert begun[:3] + resumed == whole


def metadata(here):
    [record] = [each for each in here.records(FileRecord) if each.name == "model.safetensors"]
    with safe_open(here.folder.files / record.file, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize(("goal", "best"), [("minimize", 1), ("maximize", 2)])
def test_the_model_is_kept_as_it_was_at_its_best_step(setting, goal, best):
    here = setting(objective={"metric": "value", "goal": goal})
    trial, model = here.trial(), torch.nn.Linear(1, 1)
    for step in trial.epochs(model=model):
        with torch.no_grad():
            model.weight.fill_(step)
        trial.report(value=[2.0, 1.0, 5.0, float("nan")][step])
    trial.finish()
    facts, tensors = metadata(here)
    assert tensors["weight"].item() == best
    assert (facts["step"], facts["study"], facts["trial"], facts["metric"]) == (str(best), "study", "1", "value")
    assert json.loads(facts["params"]) == {"lr": 0.1}


def test_objective_on_the_last_report_stores_the_last_model(setting):
    here = setting(objective={"metric": "value", "goal": "minimize", "value": "last"})
    trial, model = here.trial(), torch.nn.Linear(1, 1)
    for step in trial.epochs(model=model):
        trial.report(value=float(step))
    trial.finish()
    assert metadata(here)[0]["step"] == "3"


def test_with_several_objectives_the_model_of_the_last_report_that_has_all_of_them_is_kept(setting):
    objective = {"metric": "value", "goal": "minimize", "value": "last"}
    here = setting(objective=objective, result_metrics=("value", "latency"))
    trial, model = here.trial(), torch.nn.Linear(1, 1)
    for step in trial.epochs(model=model):
        trial.report(value=float(step), **({"latency": 1.0} if step < 3 else {}))
    trial.finish()
    assert metadata(here)[0]["step"] == "2"


def test_after_a_resume_only_a_better_model_is_sent(setting):
    first = setting(objective={"metric": "value", "goal": "maximize"})
    model = torch.nn.Linear(1, 1)
    trial = first.trial(checkpoint_every_s=0)
    for _ in trial.epochs(model=model):
        trial.report(value=9.0)
        if trial._step == 2:
            break
    checkpoint = [each for each in first.records(FileRecord) if each.name == "checkpoint.safetensors"][-1]
    second = setting(objective={"metric": "value", "goal": "maximize"}, attempt=2)
    (first.folder.files / checkpoint.file).rename(second.folder.resume)
    trial = second.trial()
    for step in trial.epochs(model=model):
        trial.report(value=float(step))
    trial.finish()
    assert second.records(FileRecord) == []


def test_a_saved_file_is_copied_at_once(setting, tmp_path):
    here = setting()
    (tmp_path / "picture.png").write_bytes(b"first")
    here.trial().save("picture.png", tmp_path / "picture.png")
    (tmp_path / "picture.png").write_bytes(b"second")
    [record] = here.records(FileRecord)
    assert record.name == "picture.png"
    assert (here.folder.files / record.file).read_bytes() == b"first"


def test_best_model_can_be_loaded_after_the_loop(setting):
    trial = setting().trial()
    model = torch.nn.Linear(1, 1)
    for step in trial.epochs(3, model=model):
        torch.nn.init.constant_(model.weight, float(step))
        trial.report(loss=abs(step - 1.0))
    assert model.weight.item() == 2.0
    assert trial.load_best(model)
    assert model.weight.item() == 1.0


def test_load_best_returns_false_without_a_copy(setting):
    trial = setting().trial()
    model = torch.nn.Linear(1, 1)
    before = model.weight.item()
    trial.report(loss=1.0)
    assert not trial.load_best(model)
    assert model.weight.item() == before


def train_watched(trial, *, stop_after=None, fail_after=None):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters())
    trial.watch(model, optimizer)
    for step in trial.epochs(model=model, optimizer=optimizer):
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(16, 4)).square().mean().backward()
            optimizer.step()
        trial.report(loss=1.0)
        if step == stop_after:
            break
        if step == fail_after:
            raise ValueError("broken")


def telemetry_told(here) -> Telemetry:
    files = [each for each in here.records(FileRecord) if each.name == "telemetry.json"]
    return Telemetry.model_validate_json((here.folder.files / files[-1].file).read_bytes())


def test_watch_adds_metrics_to_the_reports_and_stores_its_telemetry(setting):
    here = setting()
    trial = here.trial()
    train_watched(trial)
    trial.finish()
    reports = here.records(ReportRecord)
    assert [record.step for record in reports] == [0, 1, 2, 3]
    names = ["loss", "watch.update_ratio", "watch.grad_norm", "watch.dead_units", "watch.input_scale"]
    assert all(list(record.metrics) == names for record in reports)
    here = setting()
    trial = here.trial()
    train_watched(trial)
    assert trial.telemetry().updates == 20
    assert telemetry_told(here) == trial.telemetry()


def test_the_telemetry_of_a_trial_that_fails_is_kept(setting):
    here = setting()
    trial = here.trial()
    with pytest.raises(ValueError, match="broken"):
        train_watched(trial, fail_after=2)
    trial.abort()
    assert telemetry_told(here).updates == 15


def test_a_resumed_trial_has_the_telemetry_of_an_uninterrupted_one(setting):
    whole = setting(steps=6)
    train_watched(whole.trial())
    first = setting(steps=6)
    train_watched(first.trial(checkpoint_every_s=0), stop_after=3)
    second = setting(steps=6, attempt=2)
    checkpoint = [record for record in first.records(FileRecord) if record.name == "checkpoint.safetensors"][-1]
    (first.folder.files / checkpoint.file).rename(second.folder.resume)
    train_watched(second.trial())
    assert telemetry_told(second) == telemetry_told(whole)


def test_metrics_of_the_watch_never_displace_the_trials_own(setting):
    here = setting(steps=1)
    trial, model = here.trial(), torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trial.watch(model, optimizer)
    for _ in trial.epochs(model=model):
        model(torch.ones(3, 2)).sum().backward()
        optimizer.step()
        trial.report({f"m{index}": 1.0 for index in range(198)})
        trial.report(last=1.0, **{"watch.grad_norm": 7.0})
    last = here.records(ReportRecord)[-1].metrics
    assert len(last) == 200
    assert last["watch.grad_norm"] == 7.0
    with pytest.raises(InvalidInput, match="a trial watches one model"):
        trial.watch(model, optimizer)

"""A population on real workers: weights, optimisers and steps are handed on, parameters are each trial's own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Api, MasterProcess
from tests.integration.test_worker_process import Worker

from tunefleet import Client
from tunefleet.errors import InvalidInput

pytestmark = pytest.mark.timeout(300)

TRAIN = """\
import torch


def train(trial, lr):
    weight = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(weight.weight, 1.0)
    optimizer = torch.optim.SGD(weight.parameters(), lr=lr)
    for step in trial.epochs(model=weight, optimizer=optimizer):
        before = weight.weight.item()
        loss = weight(torch.ones(1, 1)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trial.report(loss=weight.weight.item() ** 2, before=before, weight=weight.weight.item())
"""


def spec_of(code: Path, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "objective": {"metric": "loss", "goal": "minimize", "value": "last"},
        "run": {"function": "train:train", "code": str(code)},
        "space": {"lr": {"log": [1e-4, 0.4]}},
        "steps": 6,
        "search": {"sampler": "pbt", "population": 4, "interval": 2, "seed": 1},
    }


def tunefleet(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tunefleet", *arguments], capture_output=True, text=True, timeout=240)


def test_a_trials_page_and_its_detail_show_the_trials_that_led_to_it(api: Api) -> None:
    api.submit(
        objective={"metric": "val_loss", "goal": "minimize"},
        space={"lr": {"log": [1e-4, 1e-1]}},
        search={"sampler": "pbt", "population": 4, "interval": 2},
        budget={},
    )
    for _ in range(4):
        [lease] = api.claim()
        api.report(lease, 1, val_loss=0.5)
        assert api.put_file(lease, "checkpoint.safetensors", b"c", hashlib.sha256(b"c").hexdigest()).status_code == 201
        assert api.complete(lease).json()["state"] == "complete"
    [child] = api.claim()
    assert (child["until"], child["resume"]["sha256"]) == (4, hashlib.sha256(b"c").hexdigest())
    detail = api.get(f"/trials/{child['trial_id']}").json()
    assert [(each["number"], each["first_step"], each["last_step"]) for each in detail["lineage"]] == [
        (detail["parent"], 0, 1),
        (detail["number"], 2, None),
    ]
    page = api.http.get(f"/trials/{child['trial_id']}").text
    assert "Lineage" in page
    assert f'<a href="/trials/{child["resume_from"]}">{detail["parent"]}</a>' in page


def test_members_go_on_from_each_others_checkpoints_and_the_study_can_be_replayed(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(TRAIN)
    master = MasterProcess(tmp_path)
    worker = Worker(tmp_path, master.url, "--slots", "2", "--preload")
    try:
        with Client(master.url) as client:
            study = client.submit(spec_of(tmp_path / "code", "population"))
            with pytest.raises(InvalidInput, match="run the study on workers"), study.claim():
                pass
            view = study.wait(timeout_s=200)
            assert (view.state, view.trials) == ("complete", {"complete": 12})
            trials = [study.trial(number) for number in range(12)]
            for trial in trials:
                check_segment(trial)
            assert any(trial.parent is not None and trials[trial.parent].member != trial.member for trial in trials)
            assert view.best is not None
            last = study.trial(view.best.number)
            assert [segment.first_step for segment in last.lineage] == [0, 2, 4][: len(last.lineage)]
            weights = [point.metrics for each in last.lineage for point in study.trial(each.number).curve]
            assert [point["before"] for point in weights[1:]] == [point["weight"] for point in weights[:-1]]
        told = tunefleet("lineage", "population", str(last.number), "--url", master.url)
        assert told.stdout.splitlines()[0] == " <- ".join(str(each.number) for each in last.lineage)
        check_database(master)
    finally:
        worker.end()
        master.process.kill()
        master.process.wait()


def check_segment(trial: Any) -> None:
    """Its steps are those of its segment, and each was made with its own learning rate."""
    assert [point.step for point in trial.curve] == [trial.until - 2, trial.until - 1]
    for point in trial.curve:
        gradient = 2 * point.metrics["before"]
        assert point.metrics["weight"] == pytest.approx(
            point.metrics["before"] - trial.params["lr"] * gradient, rel=1e-4
        )
    names = {artifact.name for artifact in trial.artifacts}
    assert "model.safetensors" in names
    assert "checkpoint.safetensors" not in names  # all have run to their ends


def check_database(master: MasterProcess) -> None:
    data = str(master.folder / "data")
    replayed = tunefleet("replay", "population", "--data", data, "--json")
    assert json.loads(replayed.stdout)["same"] == 12, replayed.stdout + replayed.stderr
    verified = tunefleet("doctor", "--verify", "--data", data)
    assert verified.returncode == 0, verified.stdout + verified.stderr

"""Samplers that learn, and samplers from other packages: asked when a worker waits, on the newest results."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.integration.conftest import MasterProcess
from tests.integration.plugin import write_package

from tunefleet import Client
from tunefleet.errors import InvalidInput
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.history import History
from tunefleet_master.services.planning.history_process import Begin, Update
from tunefleet_master.services.planning.sampler_process import ProposalRequest, SamplerFailed, SamplerProcess


def spec_of(name: str, sampler: str, **changes: Any) -> StudySpec:
    spec = {
        "name": name,
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"command": "true"},
        "space": {"x": {"float": [0, 1]}, "y": {"float": [0, 1]}},
        "search": {"sampler": sampler, "seed": 3},
        "budget": {"trials": 12},
    }
    return StudySpec.parse({**spec, **changes})


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as environment:
        folder = write_package(tmp_path_factory.mktemp("packages"))
        environment.setenv("PYTHONPATH", str(folder))
        environment.syspath_prepend(folder)  # what this process starts by itself looks where this one does
        yield folder


@pytest.fixture(scope="module")
def master(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MasterProcess]:
    started = MasterProcess(tmp_path_factory.mktemp("master"), is_cold=True)  # it must find the package
    yield started
    started.process.kill()
    started.process.wait()


@pytest.fixture
def client(master: MasterProcess) -> Iterator[Client]:
    with Client(master.url) as made:
        yield made


def run_trials(client: Client, name: str, n: int) -> list[dict[str, Any]]:
    """Run so many trials of a study, one after the other; their configurations."""
    done = []
    for trial in client.study(name).claims():
        with trial:
            x, y = (float(str(trial.params[name])) for name in "xy")
            trial.report(loss=(x - 0.3) ** 2 + (y - 0.6) ** 2)
        done.append(dict(trial.params))
        if len(done) == n:
            break
    return done


def replayed(master: MasterProcess, name: str, program: str = "tunefleet_master") -> dict[str, Any]:
    command = [sys.executable, "-m", program, "replay", name, "--data", str(master.folder / "data"), "--json"]
    found = subprocess.run(command, capture_output=True, text=True)  # a program of its own, which finds the package
    assert found.returncode == 0, found.stdout + found.stderr
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def test_beyond_the_first_trial_nothing_is_proposed_before_somebody_asks(client: Client) -> None:
    study = client.submit(spec_of("unasked", "mylab.nearby"))
    end = time.monotonic() + 60
    while not study.view().trials and time.monotonic() < end:
        time.sleep(0.05)
    assert study.view().trials == {"waiting": 1}
    run_trials(client, "unasked", 1)
    assert sum(study.view().trials.values()) == 1


def test_each_proposal_knows_all_results_that_came_before_it(client: Client, master: MasterProcess) -> None:
    study = client.submit(spec_of("nearby", "mylab.nearby"))
    run_trials(client, "nearby", 12)
    study.wait(timeout_s=60)
    trials = study.trials()
    losses = [trial.value or 0.0 for trial in sorted(trials, key=lambda trial: trial.number)]
    assert max(losses[-3:]) < max(losses[:4])
    assert {trial.origin for trial in trials} == {"mylab.nearby"}
    assert replayed(master, "nearby", "tunefleet") == {
        "study": "nearby",
        "same": 12,
        "by_hand": 0,
        "differing": [],
        "skipped": [],
    }


@pytest.mark.parametrize(
    ("sampler", "stages"),
    [("mylab.nearby", []), ("gp", []), ("tpe", [{"trials": 20, "steps": 1}, {"trials": 10, "steps": 2}])],
)
def test_workers_that_ask_at_once_get_different_configurations_and_the_study_can_be_replayed(
    client: Client, master: MasterProcess, sampler: str, stages: list[dict[str, int]]
) -> None:
    name = f"fleet-{sampler}-{len(stages)}"
    study = client.submit(spec_of(name, sampler, budget={"trials": 30}, stages=stages))

    def work() -> None:
        with Client(master.url) as own:
            for trial in own.study(name).claims():
                with trial:
                    trial.report(loss=abs(float(str(trial.params["x"])) - 0.3))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
    assert study.view().trials == {"complete": 30}
    assert replayed(master, name)["same"] == 30


def test_a_sampler_that_fails_is_stood_in_for_and_tried_again(client: Client, master: MasterProcess) -> None:
    study = client.submit(spec_of("broken", "mylab.broken"))
    run_trials(client, "broken", 12)
    origins = [trial.origin for trial in sorted(study.trials(), key=lambda trial: trial.number)]
    assert origins == ["mylab.broken"] * 2 + ["random"] * 3 + ["mylab.broken"] * 7
    assert replayed(master, "broken")["same"] == 12


def test_a_samplers_process_that_dies_is_started_again(client: Client, master: MasterProcess) -> None:
    study = client.submit(spec_of("killed", "mylab.nearby"))
    run_trials(client, "killed", 5)
    for child in psutil.Process(master.process.pid).children(recursive=True):
        child.kill()
    run_trials(client, "killed", 7)
    study.wait(timeout_s=60)
    assert replayed(master, "killed")["same"] == 12


def test_a_sampler_that_takes_too_long_is_ended(package: Path) -> None:
    proposer = SamplerProcess(time_limit_s=5)
    try:
        spec = spec_of("slow", "mylab.slow")
        proposer.begin(Begin(1, "mylab.slow", spec, History(spec.search_space)))
        proposer.update(Update(1, []), up_to=1)
        with pytest.raises(SamplerFailed, match="longer than 5 s"):
            proposer.ask(ProposalRequest(1, 0, 1))
        assert proposer.seen(1) == 0
    finally:
        proposer.close()


def test_a_sampler_that_is_not_installed_is_refused_with_those_that_are(client: Client) -> None:
    with pytest.raises(InvalidInput, match=r"mylab\.nearby") as refused:
        client.submit(spec_of("misspelt", "mylab.nearly"))
    assert "search.sampler" in str(refused.value)


def test_an_entry_point_that_cannot_be_used_is_left_out_and_named_in_the_log(master: MasterProcess) -> None:
    log = master.log.read_text()
    assert "the sampler mylab.absent cannot be used: AttributeError" in log
    assert "the sampler undotted cannot be used: ValueError: its name must have a dot in it" in log

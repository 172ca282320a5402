"""The Python client against a real master."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunefleet.client.claimed_trial import ClaimedTrial
from tunefleet.client.client import Client
from tunefleet.client.study import Study
from tunefleet.client.transport import route
from tunefleet.errors import (
    BudgetTaken,
    Conflict,
    DuplicateConfiguration,
    InvalidInput,
    LeaseLost,
    NotAvailableYet,
    NotFound,
    StudyExists,
)
from tunefleet.protocol import (
    ClaimRequest,
    ClaimResponse,
    EndResponse,
    Failure,
    ReleaseRequest,
    StudyState,
    TrialState,
    WorkerFacts,
)


def study_of(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"command": "true"},
        "space": {"x": {"float": [0, 1]}},
        "steps": 3,
        "search": {"sampler": "random", "seed": 1},
        "budget": {"trials": 3},
    } | changes


@pytest.fixture
def study(client: Client, study_name: str) -> Study:
    return client.submit(study_of(study_name))


def finish(study: Study, n_trials: int = 3) -> None:
    for trial in itertools.islice(study.claims(), n_trials):
        with trial:
            for step in trial.epochs():
                trial.report(loss=float(trial.params["x"]) + 1 / (step + 1))  # type: ignore[arg-type]


def run_one(study: Study, work: Callable[[ClaimedTrial], object]) -> None:
    with study.claim() as trial:
        assert trial is not None
        work(trial)


def test_a_study_runs_from_submission_to_its_best_trial(study: Study) -> None:
    finish(study)
    view = study.wait(timeout_s=60)
    assert view.state is StudyState.COMPLETE
    assert view.trials[TrialState.COMPLETE] == 3
    best = study.best()
    assert best is not None
    assert best.value == min(trial.value or 9 for trial in study.trials())
    assert [point.step for point in study.trial(best.number).curve] == [0, 1, 2]


def test_submitting_the_same_study_again_returns_the_existing_one(client: Client, study_name: str) -> None:
    first = client.submit(study_of(study_name))
    assert client.submit(study_of(study_name)).view().created_at == first.view().created_at
    with pytest.raises(StudyExists, match=study_name):
        client.submit(study_of(study_name, steps=4))


def test_an_unknown_study_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        client.study("nowhere")


def test_a_study_that_cannot_run_yet_is_refused(client: Client, study_name: str) -> None:
    with pytest.raises(NotAvailableYet, match="ensemble"):
        client.submit(study_of(study_name, ensemble={}))


def test_trials_are_sorted_paged_and_sliced(client: Client, study_name: str) -> None:
    study = client.submit(study_of(study_name, budget={"trials": 7}))
    finish(study, 7)
    by_value = study.trials(sort="-value")
    assert len(by_value) == 7
    values = [trial.value or 0 for trial in by_value]
    assert values == sorted(values, reverse=True)
    assert [trial.number for trial in study.trials()[2:4]] == [2, 3]
    assert study.trials()[-1].number == 6
    assert [trial.number for trial in study.trials(limit=2)] == [0, 1]
    assert study.trials(limit=2).total == 7
    assert len(study.trials(state="failed")) == 0
    xs = [float(trial.params["x"]) for trial in study.trials(sort="x")]  # type: ignore[arg-type]
    assert xs == sorted(xs)
    with pytest.raises(IndexError):
        study.trials()[7]


def test_trials_convert_to_a_data_frame(study: Study) -> None:
    finish(study, 2)
    frame = study.trials().to_pandas()
    assert list(frame.columns[:3]) == ["number", "state", "value"]
    assert "params.x" in frame
    assert "metrics.loss" in frame
    assert frame["value"].notna().sum() == 2


def test_a_configuration_by_hand_runs_first(client: Client, study_name: str) -> None:
    study = client.submit(study_of(study_name, space={"x": {"int": [1, 100_000]}}, budget={"trials": 1_000}))
    added = study.add(x=3)
    assert added.origin == "user"
    with study.claim() as trial:
        assert trial is not None
        assert trial.number == added.number
        assert trial.params == {"x": 3}
        trial.report(loss=1)
    with pytest.raises(InvalidInput, match=r"params\.x = 0: is not in int"):
        study.add(x=0)


def test_control_calls_change_the_state_and_the_budget(study: Study) -> None:
    assert study.pause().state is StudyState.PAUSED
    assert study.resume().state is StudyState.RUNNING
    edited = study.edit(trials=5, priority=2)
    assert (edited.budget.trials, edited.priority) == (5, 2)
    assert study.edit(hours=1.5).budget.trials == 5
    with pytest.raises(Conflict):
        study.delete()
    assert study.stop().state is StudyState.STOPPED
    study.delete()
    with pytest.raises(NotFound):
        study.view()


def test_an_exception_fails_the_trial_and_propagates(study: Study) -> None:
    with pytest.raises(ZeroDivisionError):
        run_one(study, lambda trial: 1 / 0)
    detail = study.trial(0)
    assert "ZeroDivisionError" in detail.attempts[0].message
    assert "1 / 0" in detail.attempts[0].log_tail


def test_an_interrupt_releases_the_trial(study: Study) -> None:
    def interrupted(trial: ClaimedTrial) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_one(study, interrupted)
    detail = study.trial(0)
    assert detail.state is TrialState.WAITING
    with study.claim() as again:
        assert again is not None
        assert (again.number, again.attempt) == (0, 2)
        again.report(loss=1)


def test_nan_ends_the_trial_as_diverged(study: Study) -> None:
    with study.claim() as trial:
        assert trial is not None
        for _ in range(1000):
            trial.report(loss=math.nan)
            threading.Event().wait(0.01)
    detail = study.trial(trial.number)
    assert (detail.state, detail.failure) == (TrialState.FAILED, Failure.DIVERGED)


def test_a_claim_without_trials_is_none(client: Client, study_name: str) -> None:
    study = client.submit(study_of(study_name, budget={"trials": 1}))
    finish(study, 1)
    with study.claim(wait_s=0) as trial:
        assert trial is None
    assert list(study.claims()) == []


def test_a_claim_is_limited_to_its_study(client: Client, study: Study, study_name: str) -> None:
    other = client.submit(study_of(f"{study_name}-other", priority=100))
    with study.claim() as trial:
        assert trial is not None
        assert trial.study == study.name
        trial.report(loss=1)
    other.stop()


def test_heartbeats_keep_a_slow_trial(study: Study) -> None:
    with study.claim() as trial:
        assert trial is not None
        threading.Event().wait(3.5)  # the module's master gives leases of 2 s
        trial.report(loss=1)
    assert trial.outcome is not None
    assert study.trial(trial.number).attempt == 1


def test_a_lost_lease_raises_at_the_end_of_the_block(client: Client, study: Study) -> None:
    def steal(held: ClaimedTrial) -> None:
        trial = study.trial(held.number)
        path = route("trials", trial.id, "release")
        client.transport.post(path, ReleaseRequest(attempt=1), answer=EndResponse)
        request = ClaimRequest(worker="thief", study=study.name, slots=9, facts=WorkerFacts(allow_code=True))
        assert client.transport.post("/claims", request, answer=ClaimResponse).leases
        held.report(loss=1)

    with pytest.raises(LeaseLost):
        run_one(study, steal)


def test_files_of_the_best_trial_are_downloaded(study: Study, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(bytes(range(256)) * 1000)
    with study.claim() as trial:
        assert trial is not None
        trial.report(loss=0.5)
        trial.save("model.bin", file)
        trial.save("checkpoint.bin", file)
    paths = study.download_best(tmp_path / "out")
    assert [path.name for path in paths] == ["model.bin"]
    assert paths[0].read_bytes() == file.read_bytes()


def test_a_study_without_values_or_files_raises_not_found(study: Study, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="has a value yet"):
        study.download_best(tmp_path)
    with study.claim() as trial:
        assert trial is not None
        trial.report(loss=1)
    with pytest.raises(NotFound, match=r"trial\.save"):
        study.download_best(tmp_path)


def test_failed_trials_run_again_on_request(client: Client, study_name: str) -> None:
    study = client.submit(study_of(study_name, budget={"trials": 1}, retry={"error": 0}))
    with pytest.raises(ZeroDivisionError):
        run_one(study, lambda trial: 1 / 0)
    assert study.trial(0).failure is Failure.ERROR
    assert study.retry("lost") == []
    assert study.retry() == [0]
    finish(study, 1)
    assert study.wait(timeout_s=60).trials[TrialState.COMPLETE] == 1


def test_events_are_complete_and_resume(study: Study) -> None:
    finish(study, 1)
    story = []
    for event in study.events():
        story.append(event)
        if event.kind == "trial.complete":
            break
    kinds = [event.kind for event in story]
    assert kinds[0] == "study.running"
    assert kinds.index("trial.running") < kinds.index("trial.complete")
    second = next(iter(study.events(after=story[0].id)))
    assert second == story[1]


def test_code_is_sent_as_a_bundle_and_the_same_code_is_the_same_study(
    client: Client, study_name: str, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("def train(trial, x): ...\n")
    data = study_of(study_name, run={"function": "train:train", "code": str(tmp_path)})
    study = client.submit(data)
    bundle = study.view().spec.bundle
    assert bundle is not None
    client.transport.download(route("bundles", bundle), tmp_path / "back.tar.gz", sha256=bundle)
    (tmp_path / "back.tar.gz").unlink()
    assert client.submit(data).name == study.name
    (tmp_path / "train.py").write_text("def train(trial, y): ...\n")
    with pytest.raises(InvalidInput, match="does not take it"):
        client.submit(data)


def test_a_short_wait_raises_a_timeout(study: Study) -> None:
    with pytest.raises(TimeoutError, match="is running after"):
        study.wait(timeout_s=0)


def test_taken_budgets_and_duplicates_are_conflicts(client: Client, study_name: str) -> None:
    study = client.submit(
        study_of(study_name, space={"x": [1, 2, 3, 4]}, budget={"trials": 2}, search={"sampler": "grid"})
    )
    finish(study, 2)
    with pytest.raises((BudgetTaken, DuplicateConfiguration, Conflict)):
        study.add(x=1)

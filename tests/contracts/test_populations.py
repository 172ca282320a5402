"""Population-based training on a real database: segments resume from committed checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tunefleet.errors import Conflict
from tunefleet.protocol import (
    EnqueueRequest,
    FailRequest,
    Failure,
    Lease,
    RetryRequest,
    StudyPatch,
    StudyState,
    TrialState,
    TrialView,
)
from tunefleet_master.search import registry
from tunefleet_master.search.history import History
from tunefleet_master.services.audit import replay
from tunefleet_master.services.execution import artifacts
from tunefleet_master.services.execution.artifacts import Upload
from tunefleet_master.services.planning import histories, manual_trials, pending_work, planner, study_control
from tunefleet_master.services.planning.sampling import Batch
from tunefleet_master.services.reading import trials
from tunefleet_master.storage import segments
from tunefleet_master.storage import studies as stored
from tunefleet_master.storage.segments import CHECKPOINT
from tunefleet_master.storage.trial_pages import TrialQuery
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

MEMBERS, GENERATIONS = 4, 3
POPULATION: dict[str, Any] = {
    "space": {"x": {"float": [0, 1]}},
    "search": {"sampler": "pbt", "population": MEMBERS, "interval": 2},
    "steps": 2 * GENERATIONS,
    "budget": {},
    "retry": {"error": 1, "lost": 5},
}


def submit(master: Any, **changes: Any) -> None:
    master.submit(**{**POPULATION, **changes})


def study_of(uow: UnitOfWork) -> Study:
    return stored.get(uow.connection, "study")


def plan(master: Any) -> None:
    """Propose on the newest results for waiting workers, in this process."""
    for need in master.read(pending_work.needs):
        study = need.study
        history, saw = master.read(lambda uow, study=study: history_of(uow, study))
        suggested = registry.build("pbt", study.spec).suggest(study.position, need.n, history=history)
        version = registry.sampler_class("pbt").version
        batch = Batch(study.position, study.version, suggested.found, suggested.is_last, "pbt", version, saw)
        master.call(planner.add_batch, study.id, batch)


def history_of(uow: UnitOfWork, study: Study) -> tuple[History, int]:
    history, saw = histories.empty(histories.first_spec(uow.connection, study)), 0
    for saw, change in histories.changes(uow.connection, study.id, after=0):  # noqa: B007 - the last one is wanted
        history.fold([change])
    return history, saw


def claim(master: Any, worker: str = "w1", *, slots: int = 1) -> list[Lease]:
    """Claim as a worker that waits for the planner."""
    leases: list[Lease] = master.claim(worker, slots=slots)
    if not leases:
        plan(master)
        leases = master.claim(worker, slots=slots)
    return leases


def save(master: Any, lease: Lease, *, content: str | None = None) -> None:
    sha256 = (content or f"{lease.trial_id:x}").rjust(64, "0")
    upload = Upload(attempt=lease.attempt, sha256=sha256, size_bytes=1)
    master.call(artifacts.attach, lease.trial_id, CHECKPOINT, upload=upload)


def finish(master: Any, lease: Lease, loss: float) -> None:
    assert lease.until is not None
    master.report(lease, lease.until - 1, loss=loss)
    save(master, lease)
    assert master.complete(lease).state is TrialState.COMPLETE


def first_generation(master: Any) -> list[Lease]:
    """Complete the first segment of all members; member i has a loss of i."""
    leases = [lease for _ in range(MEMBERS) for lease in claim(master)]
    for lease in leases:
        finish(master, lease, float(lease.number))
    return leases


def view(master: Any, number: int) -> TrialView:
    found: TrialView = master.read(lambda uow: trials.by_number(uow, "study", number))
    return found


def with_checkpoints(master: Any) -> set[int]:
    return set(master.read(lambda uow: segments.with_checkpoint(uow.connection, study_of(uow).id, range(1_000))))


def test_a_segment_resumes_from_its_parents_checkpoint(master: Any) -> None:
    submit(master)
    first = first_generation(master)
    assert [(lease.resume, lease.resume_from, lease.until, lease.steps) for lease in first] == [(None, None, 2, 6)] * 4
    second = [lease for _ in range(MEMBERS) for lease in claim(master)]
    ids = {lease.number: lease.trial_id for lease in first}
    for lease in second:
        trial = view(master, lease.number)
        assert trial.parent is not None
        assert lease.resume is not None
        assert (lease.until, lease.resume_from) == (4, ids[trial.parent])
        assert lease.resume.sha256 == f"{lease.resume_from:x}".rjust(64, "0")
    assert {view(master, lease.number).member: view(master, lease.number).parent for lease in second} == {
        **{0: 0, 1: 1, 2: 2},
        3: 0,  # the worst of four resumes from the best
    }


def test_no_more_segments_than_members_run_at_once(master: Any) -> None:
    submit(master)
    plan(master)
    leases = [lease for worker in "abcdefgh" for lease in claim(master, worker)]
    assert sorted(view(master, lease.number).member or 0 for lease in leases) == [0, 1, 2, 3]
    assert master.read(study_of).state is StudyState.RUNNING


def test_a_segment_without_a_checkpoint_has_failed(master: Any) -> None:
    submit(master)
    [lease] = claim(master)
    master.report(lease, 1, loss=0.5)
    assert master.complete(lease).state is TrialState.WAITING
    [again] = claim(master)
    master.report(again, 1, loss=0.5)
    assert (again.trial_id, master.complete(again).failure) == (lease.trial_id, Failure.ERROR)
    assert "trial.epochs(model=model, optimizer=optimizer)" in view(master, lease.number).message


def test_the_last_segment_needs_no_checkpoint(master: Any) -> None:
    submit(master, search={**POPULATION["search"], "interval": 5})
    for lease in first_generation(master):
        assert lease.until == 5
    [last] = claim(master)
    assert last.until == 6
    assert master.complete(last, loss=0.1).state is TrialState.COMPLETE


def test_after_a_lost_worker_a_segment_resumes_from_the_newest_checkpoint(master: Any) -> None:
    submit(master)
    first_generation(master)
    [lease] = claim(master)
    assert lease.resume is not None
    master.pass_time(65)
    [again] = claim(master, "w2")
    assert (again.trial_id, again.attempt, again.resume_from) == (lease.trial_id, 2, lease.resume_from)
    assert again.resume == lease.resume
    save(master, again, content="abc")
    master.pass_time(65)
    [third] = claim(master, "w3")
    assert third.resume is not None
    assert (third.attempt, third.resume_from, third.resume.sha256) == (3, None, "abc".rjust(64, "0"))


def test_a_failed_member_copies_a_good_one(master: Any) -> None:
    submit(master, retry={"error": 0})
    first_generation(master)
    [lease] = claim(master)
    master.end(lease.trial_id, FailRequest(attempt=1, message="no"))
    for _ in range(MEMBERS):
        [again] = claim(master)
    trial = view(master, again.number)
    assert (trial.member, trial.parent, again.until) == (view(master, lease.number).member, 0, 4)


def test_a_segment_that_its_member_no_longer_needs_is_not_retried(master: Any) -> None:
    submit(master, retry={"error": 0})
    first_generation(master)
    leases = [lease for _ in range(2) for lease in claim(master)]
    for lease in leases:
        master.end(lease.trial_id, FailRequest(attempt=1, message=f"no {lease.number}"))
    for _ in range(2):
        claim(master)  # the members that have waited longer
    claim(master)  # the first failed member continues
    assert master.call(manual_trials.retry, "study", RetryRequest()).numbers == [leases[1].number]
    [again] = claim(master)
    assert (again.number, again.attempt, again.resume_from) == (leases[1].number, 2, leases[1].resume_from)
    assert again.resume is not None


def test_a_proposal_for_a_member_that_is_busy_again_is_dropped(master: Any) -> None:
    submit(master, retry={"error": 0})
    first_generation(master)
    leases = [lease for _ in range(MEMBERS) for lease in claim(master)]
    master.end(leases[0].trial_id, FailRequest(attempt=1, message="no"))
    study = master.read(study_of)
    history, saw = master.read(lambda uow: history_of(uow, study))
    suggested = registry.build("pbt", study.spec).suggest(study.position, 1, history=history)
    assert len(suggested.found) == 1
    master.call(manual_trials.retry, "study", RetryRequest())
    batch = Batch(study.position, study.version, suggested.found, False, "pbt", 1, saw)
    assert master.call(planner.add_batch, study.id, batch) == 0
    assert claim(master)[0].number == leases[0].number


def test_checkpoints_are_kept_while_a_segment_may_need_them(master: Any) -> None:
    submit(master)
    first_generation(master)
    second = [lease for _ in range(MEMBERS) for lease in claim(master)]
    assert {0, 1, 2} <= with_checkpoints(master)  # second attempts start from them
    for lease in second:
        finish(master, lease, float(lease.number))
    claim(master)
    third = {view(master, lease.number).parent for lease in claim(master, slots=2)}
    assert with_checkpoints(master) == {lease.number for lease in second}
    assert third <= with_checkpoints(master)


def test_a_stopped_study_keeps_no_checkpoint(master: Any) -> None:
    submit(master)
    first_generation(master)
    assert with_checkpoints(master) == {0, 1, 2, 3}
    master.call(study_control.change, "study", StudyPatch(state="stopped"))
    assert with_checkpoints(master) == set()


def test_configurations_by_hand_are_refused(master: Any) -> None:
    submit(master)
    with pytest.raises(Conflict, match="trains a population"):
        master.call(manual_trials.enqueue, "study", EnqueueRequest(params=[{"x": 0.5}]))


def test_raising_spent_hours_lets_every_member_continue(master: Any) -> None:
    submit(master, budget={"hours": 1})
    master.skip_time(3600)
    master.pass_time(2)
    assert view(master, 0).state is TrialState.CANCELLED
    assert master.read(study_of).state is StudyState.COMPLETE
    master.call(study_control.change, "study", StudyPatch.parse({"budget": {"hours": 2}}))
    members = {view(master, lease.number).member for _ in range(MEMBERS) for lease in claim(master)}
    assert members == {0, 1, 2, 3}


def test_a_budget_counts_segments(master: Any) -> None:
    submit(master, budget={"trials": MEMBERS * GENERATIONS})
    while leases := claim(master):
        finish(master, leases[0], float(leases[0].number % MEMBERS))
    study = master.read(study_of)
    assert (study.state, study.n_created) == (StudyState.COMPLETE, MEMBERS * GENERATIONS)


@pytest.mark.parametrize("seed", range(3))
def test_checkpoints_survive_lost_workers_while_needed_and_are_deleted_afterwards(master: Any, seed: int) -> None:
    submit(master, retry={"error": 0, "lost": 20})
    generator = np.random.default_rng(seed)
    held: list[Lease] = []
    for turn in range(200):
        if len(held) < 3 and (found := claim(master, f"w{turn}")):
            [lease] = found
            if (parent := view(master, lease.number).parent) is not None:
                assert parent in with_checkpoints(master)
                assert lease.resume is not None
            held.append(lease)
        if not held:
            break
        lease = held.pop(int(generator.integers(len(held))))
        match generator.integers(5):
            case 0:
                master.pass_time(65)  # all workers are dead
                held = []
            case 1:
                master.end(lease.trial_id, FailRequest(attempt=lease.attempt, failure=Failure.DIVERGED))
            case _:
                finish(master, lease, float(generator.random()))
    assert master.read(study_of).state is StudyState.COMPLETE
    assert with_checkpoints(master) == set()
    found = master.read(lambda uow: trials.page(uow, "study", TrialQuery(limit=500))).items
    assert {trial.member for trial in found if trial.until == 6 and trial.state is TrialState.COMPLETE} == {0, 1, 2, 3}
    again = master.read(lambda uow: replay.replay(uow, study_of(uow)))
    assert (again.n_same, again.differing, again.skipped) == (len(found), [], [])

"""The preflight of a study: leased as a trial is, before all trials, and none of them."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.errors import IllegalTransition, InvalidInput, LeaseLost
from tunefleet.protocol import (
    CompleteRequest,
    EndResponse,
    EnqueueRequest,
    FailRequest,
    Failure,
    Lease,
    PreflightState,
    ReleaseRequest,
    StudyPatch,
    StudyState,
    TrialState,
    WorkerFacts,
)
from tunefleet.protocol.preflight import PREFLIGHT_NUMBER, BranchReport, Check, PreflightReport
from tunefleet_master.search import registry
from tunefleet_master.services.audit import doctor
from tunefleet_master.services.audit.acknowledged_writes import AcknowledgedWrites
from tunefleet_master.services.planning import histories, manual_trials, pending_work, planner, study_control
from tunefleet_master.services.planning.sampling import Batch
from tunefleet_master.services.reading import events, studies, trials
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.trial_pages import TrialQuery

ABLE = WorkerFacts(allow_code=True, preflight=True)
GOOD = Check(code="overfit", passed=True, saw="accuracy 1.00 after 40 updates")
BAD = Check(code="gradient", passed=False, saw="no gradient reaches body.0.weight", likely="a detached tensor")
DOUBT = Check(code="start", passed=False, blocks=False, saw="the loss begins at 9.1")


def report(*checks: Check) -> PreflightReport:
    return PreflightReport(took_s=1.5, branches=[BranchReport(params={"kind": "a"}, checks=list(checks))])


def checked(master: Any, lease: Lease, *checks: Check) -> EndResponse:
    body = CompleteRequest(attempt=lease.attempt, preflight=report(*checks))
    answer: EndResponse = master.end(lease.trial_id, body)
    return answer


def begun(master: Any, **changes: Any) -> Lease:
    """Submit a study and claim its preflight."""
    master.submit(**{"preflight": {}, **changes})
    leases: list[Lease] = master.claim(facts=ABLE, slots=4)
    assert len(leases) == 1
    return leases[0]


def state_of(master: Any) -> Any:
    return master.call(studies.read, "study")


def test_only_the_preflight_is_claimed_before_it_has_passed(master):
    lease = begun(master)
    order = lease.preflight
    assert order is not None
    assert (lease.number, order.samples, order.updates) == (PREFLIGHT_NUMBER, 64, 300)
    assert [branch[0]["kind"] for branch in order.branches] == ["a", "b"]
    master.plan()
    assert master.claim("w2", facts=ABLE) == []
    assert checked(master, lease, GOOD).state == "complete"
    master.plan()
    assert [other.number for other in master.claim("w2", facts=ABLE, slots=2)] == [0, 1]


def test_configurations_by_hand_wait_for_the_preflight(master):
    lease = begun(master)
    added = EnqueueRequest(params=[{"x": 0.5, "kind": "a"}])
    master.call(manual_trials.enqueue, "study", added)
    assert master.claim("w2", facts=ABLE) == []
    checked(master, lease, GOOD)
    assert [other.params for other in master.claim("w2", facts=ABLE)] == [{"x": 0.5, "kind": "a"}]


def test_the_preflight_is_absent_from_lists_counts_budget_and_history(master):
    lease = begun(master, budget={"trials": 2})
    assert state_of(master).trials == {}
    checked(master, lease, GOOD)
    master.plan()
    for i, other in enumerate(master.claim(facts=ABLE, slots=9)):
        master.complete(other, loss=float(i))
    view = state_of(master)
    assert (view.state, view.trials) == ("complete", {"complete": 2})
    page = master.call(trials.page, "study", TrialQuery())
    assert [trial.number for trial in page.items] == [0, 1]
    found = master.call(events.after, "study", 0, limit=100)
    assert [event.kind for event in found if event.kind.startswith("preflight")] == [
        "preflight.waiting",
        "preflight.running",
        "preflight.complete",
    ]
    assert all(event.trial is None or event.trial >= 0 for event in found)


def test_a_worker_that_cannot_run_a_preflight_gets_none_and_the_study_reports_it(master):
    master.submit(preflight={})
    assert master.claim(facts=WorkerFacts(allow_code=True)) == []
    assert "knows how to run a preflight" in state_of(master).unclaimed
    assert len(master.claim("w2", facts=ABLE)) == 1


def test_a_failed_check_blocks_the_study_with_evidence_and_likely_cause(master):
    lease = begun(master)
    answer = checked(master, lease, GOOD, DOUBT, BAD)
    assert (answer.state, answer.failure, answer.study_state) == ("failed", "infeasible", "blocked")
    view = state_of(master)
    assert (view.state, view.preflight) == (StudyState.BLOCKED, PreflightState.BLOCKED)
    assert "no gradient reaches body.0.weight. Likely: a detached tensor." in view.message
    assert "tunefleet resume study --anyway" in view.message
    assert view.preflight_report == report(GOOD, DOUBT, BAD)
    master.plan()
    assert master.claim("w2", facts=ABLE) == []
    assert state_of(master).trials == {}


def test_a_warning_does_not_block_and_stays_in_the_report(master):
    lease = begun(master)
    checked(master, lease, GOOD, DOUBT)
    view = state_of(master)
    assert (view.state, view.preflight, view.preflight_report) == ("running", "passed", report(GOOD, DOUBT))


def test_resume_anyway_runs_a_blocked_study(master):
    lease = begun(master)
    checked(master, lease, BAD)
    master.call(study_control.change, "study", StudyPatch(state="running", anyway=True))
    view = state_of(master)
    assert (view.state, view.preflight) == ("running", "overruled")
    assert view.preflight_report == report(BAD)
    master.plan()
    assert [other.number for other in master.claim(facts=ABLE)] == [0]


def test_resume_runs_the_preflight_again(master):
    lease = begun(master)
    checked(master, lease, BAD)
    master.call(study_control.change, "study", StudyPatch(state="running"))
    view = state_of(master)
    assert (view.state, view.preflight, view.preflight_report, view.message) == ("running", "pending", None, "")
    [again] = master.claim(facts=ABLE)
    assert (again.number, again.attempt) == (PREFLIGHT_NUMBER, 2)
    checked(master, again, GOOD)
    assert state_of(master).preflight == "passed"


def test_resume_anyway_cancels_a_running_preflight(master):
    lease = begun(master)
    master.call(study_control.change, "study", StudyPatch(state="running", anyway=True))
    master.plan()
    assert [other.number for other in master.claim("w2", facts=ABLE)] == [0]
    assert checked(master, lease, BAD).state == "cancelled"
    assert state_of(master).state == "running"


def test_a_lost_preflight_goes_to_the_next_worker_and_the_first_ones_report_is_refused(master):
    lease = begun(master)
    master.pass_time(70)
    [again] = master.claim("w2", facts=ABLE)
    assert (again.number, again.attempt) == (PREFLIGHT_NUMBER, 2)
    with pytest.raises(LeaseLost):
        checked(master, lease, BAD)
    checked(master, again, GOOD)
    assert state_of(master).preflight == "passed"


def test_a_preflight_that_was_lost_too_often_blocks_the_study(master):
    master.submit(preflight={}, retry={"lost": 1})
    for worker in ("w1", "w2"):
        assert master.claim(worker, facts=ABLE)
        master.pass_time(70)
    view = state_of(master)
    assert view.state == "blocked"
    assert "lost: worker w2 was lost" in view.message


def test_a_preflight_whose_function_raises_is_tried_again_and_then_blocks_the_study(master):
    lease = begun(master)
    failed: dict[str, Any] = {"failure": Failure.ERROR, "message": "KeyError: 'x'", "exception": "KeyError at t.py:3"}
    answer = master.end(lease.trial_id, FailRequest(attempt=1, **failed))
    assert (answer.state, answer.study_state) == ("waiting", "running")
    [again] = master.claim(facts=ABLE)
    answer = master.end(again.trial_id, FailRequest(attempt=2, **failed))
    assert (answer.state, answer.study_state) == ("failed", "blocked")
    assert "error: KeyError: 'x'" in state_of(master).message


def test_a_released_preflight_waits_again(master):
    lease = begun(master)
    assert master.end(lease.trial_id, ReleaseRequest(attempt=1)).state == TrialState.WAITING
    assert [other.attempt for other in master.claim("w2", facts=ABLE)] == [2]


def test_the_same_report_again_gets_the_first_answer(master):
    lease = begun(master)
    assert checked(master, lease, BAD) == checked(master, lease, BAD)


def test_a_preflight_needs_a_report_and_a_trial_has_none(master):
    lease = begun(master)
    with pytest.raises(InvalidInput, match="completes with what it found"):
        master.complete(lease, loss=1.0)
    checked(master, lease, GOOD)
    master.plan()
    [first] = master.claim(facts=ABLE)
    with pytest.raises(InvalidInput, match="this is a trial"):
        checked(master, first, GOOD)


def test_a_paused_study_is_blocked_too(master):
    lease = begun(master)
    master.call(study_control.change, "study", StudyPatch(state="paused"))
    assert checked(master, lease, BAD).study_state == "blocked"


def test_a_stopped_study_stays_stopped_whatever_its_preflight_reports(master):
    lease = begun(master)
    master.call(study_control.change, "study", StudyPatch(state="stopped"))
    assert checked(master, lease, BAD).study_state == "stopped"
    with pytest.raises(IllegalTransition):
        master.call(study_control.change, "study", StudyPatch(state="running", anyway=True))


def test_a_blocked_study_can_be_stopped_and_removed(master):
    checked(master, begun(master), BAD)
    master.call(study_control.delete, "study")
    master.submit()
    assert [lease.number for lease in master.claim()] == [0]


def test_the_hours_of_a_budget_begin_after_the_preflight(master):
    master.submit(preflight={}, budget={"hours": 0.01})
    master.pass_time(60)
    assert state_of(master).elapsed_s == 0.0
    [lease] = master.claim(facts=ABLE)
    checked(master, lease, GOOD)
    master.pass_time(10)
    assert (state_of(master).state, state_of(master).elapsed_s) == ("running", 10.0)


@pytest.mark.parametrize("sampler", ["random", "sobol", "tpe", "grid"])
def test_a_preflight_changes_no_proposal(master, sampler):
    master.submit(name="plain", search={"sampler": sampler, "seed": 3})
    master.submit(name="checked", search={"sampler": sampler, "seed": 3}, preflight={})
    [lease] = master.claim(facts=ABLE, study="checked")
    checked(master, lease, GOOD)
    params = {}
    for name in ("plain", "checked"):
        claimed: list[Lease] = []
        while len(claimed) < 3:
            asked = master.claim(facts=ABLE, study=name, wait_s=5.0)
            claimed += asked
            for need in master.read(pending_work.needs) if not asked else ():
                propose(master, need)
        params[name] = [other.params for other in claimed]
    assert params["plain"] == params["checked"]


def propose(master: Any, need: Any) -> None:
    """Plan for a learning sampler, in this process."""
    sampler = registry.build(need.study.sampler, need.study.searched)
    history = master.read(lambda uow: histories.fold(uow.connection, need.study))
    found = sampler.suggest(need.study.position, need.n, history=history)
    at = need.study.position, need.study.version
    master.call(planner.add_batch, need.study.id, Batch(*at, found.found, found.is_last, sampler.name, sampler.version))


def test_the_doctor_accepts_preflights(master, tmp_path):
    for i, end in enumerate((GOOD, BAD)):
        master.submit(name=f"study-{i}", preflight={})
        [lease] = master.claim(facts=ABLE, study=f"study-{i}")
        checked(master, lease, end)
    master.plan()
    for lease in master.claim(facts=ABLE, slots=9):
        master.complete(lease, loss=1.0)
    found = master.read(lambda uow: doctor.verify(uow, BlobStore(tmp_path), acknowledged=AcknowledgedWrites()))
    assert [violation for check in found for violation in check.violations] == []

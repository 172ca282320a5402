"""Any order of calls, repeats, losses, outages and restarts, on every database.

A naive oracle runs beside the master. After each step both must have given the same answer, and the database must hold
what the oracle holds: no result counted twice (I1), no write of an old attempt (I3), nothing acknowledged and lost
(I5). At the end of each run all faults stop, and every study must come to its end with exactly its budget (I2, I4).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.chaos import amount
from tests.contracts.oracle import LIVE, Oracle, Trial
from tests.contracts.stored import Stored, check_results_are_counted_once, expected, identities, wipe

from tunefleet.errors import TunefleetError
from tunefleet.names import TrialId
from tunefleet.protocol import (
    ClaimRequest,
    CompleteRequest,
    EnqueueRequest,
    FailRequest,
    Failure,
    HeartbeatRequest,
    HeldLease,
    Lease,
    ReleaseRequest,
    Report,
    ReportBatch,
    RetryRequest,
    StudyPatch,
    StudyState,
    WorkerFacts,
)
from tunefleet.study.spec import Budget, StudySpec
from tunefleet_master.search import registry
from tunefleet_master.services.execution import claims, completion, heartbeats, reports, sweeper
from tunefleet_master.services.execution.completion import Ended
from tunefleet_master.services.execution.reports import Reported
from tunefleet_master.services.planning import manual_trials, pending_work, planner, study_control, submission
from tunefleet_master.services.planning.sampling import Batch, Need

T = TypeVar("T")

RUNS, STEPS = amount(100, 2_000), amount(50, 100)

MAX_STUDIES = 3
ROUNDS_TO_THE_END = 3
SWEEP_S = 25.0  # one sweep covers a whole lease; the time between two is an outage from 75 s on
WORKERS = st.sampled_from(["w1", "w2", "w3"])
METRICS = st.dictionaries(
    st.sampled_from(["loss", "accuracy"]), st.sampled_from([0.25, 0.5, 0.75, math.inf]), min_size=1
)
ENDINGS: st.SearchStrategy[completion.Request] = st.one_of(
    st.builds(CompleteRequest, attempt=st.just(1), metrics=st.just({}) | METRICS),
    st.builds(FailRequest, attempt=st.just(1), failure=st.sampled_from(Failure)),
    st.builds(ReleaseRequest, attempt=st.just(1), reason=st.sampled_from(["preempted", "lost"])),
)
PLACES = st.integers(0, 30)
REPORTS = st.builds(Report, step=st.integers(0, 3), metrics=METRICS, number=st.integers(0, 2))
FACTS = WorkerFacts(allow_code=True)
SPACES: list[tuple[dict[str, Any], int | None]] = [
    ({"x": {"float": [0, 1]}}, None),
    ({"n": {"int": [1, 3]}}, 3),
]

ENDED = (StudyState.COMPLETE, StudyState.STOPPED)


def some(one: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    """One request, or a few that share a transaction."""
    return st.lists(one, min_size=1, max_size=3)


def outcome(call: Callable[[], Any]) -> Any:
    """Return the call's answer, or the kind of error that it raised."""
    try:
        return call()
    except TunefleetError as error:
        return type(error)


class MasterMachine(RuleBasedStateMachine):
    """Drives a master and the oracle with the same calls."""

    names = Bundle("names")
    batches = Bundle("batches")

    def __init__(self, master: Any) -> None:
        super().__init__()
        self.master = master
        self.oracle = Oracle()
        self.n_made = 0
        # Not bundles: the first claim fills this one before any rule is chosen, so that old attempts are never rare.
        self.leases: list[Lease] = []
        self.ends: list[tuple[int, completion.Request]] = []
        master.call(wipe)

    @initialize(target=names)
    def begin(self) -> Any:
        name = self.submit(0, budget=4, lost=2, error=1)
        self.plan()
        self.claim([("w1", 2, "r1")])
        return name

    @precondition(lambda self: len(self.oracle.studies) < MAX_STUDIES)
    @rule(
        target=names, space=st.integers(0, 1), budget=st.integers(1, 5), lost=st.integers(0, 3), error=st.integers(0, 2)
    )
    def submit(self, space: int, budget: int, lost: int, error: int) -> str:
        self.n_made += 1
        name = f"s{self.n_made}"
        parameters, size = SPACES[space]
        spec = StudySpec.parse(
            {
                "name": name,
                "objective": {"metric": "loss", "goal": "minimize"},
                "run": {"function": "train:train"},
                "space": parameters,
                "search": {"sampler": "random" if size is None else "grid"},
                "budget": {"trials": budget},
                "retry": {"lost": lost, "error": error},
            }
        )
        assert self.master.call(submission.submit, spec)[1] is True
        assert self.master.call(submission.submit, spec)[1] is False
        self.oracle.submit(spec, size)
        return name

    @rule()
    def plan(self) -> None:
        while lacking := self.master.read(pending_work.needs):
            for need in lacking:
                self.enqueue((need.study.id, need.study.name, need.n, self.propose(need)))

    @rule(target=batches)
    def draw(self) -> Any:
        """Add the batch of a slow planner, or of a second one."""
        return multiple(
            *(
                (need.study.id, need.study.name, need.n, self.propose(need))
                for need in self.master.read(pending_work.needs)
            )
        )

    @rule(drawn=batches)
    def enqueue(self, drawn: tuple[int, str, int, Batch]) -> None:
        study_id, name, n, batch = drawn
        if name in self.oracle.studies:
            wanted = self.oracle.enqueue(name, batch.position, n)
            assert self.master.call(planner.add_batch, study_id, batch) == wanted
            self.adopt(wanted)
            self.oracle.studies[name].settle()

    @rule(name=names)
    def add_by_hand(self, name: str) -> None:
        study = self.oracle.studies.get(name)
        if study is None or study.size is not None:
            return
        self.n_made += 1
        request = EnqueueRequest(params=[{"x": self.n_made / 1_000_000}])
        wanted = outcome(lambda: self.oracle.add(name))
        answer = outcome(lambda: self.master.call(manual_trials.enqueue, name, request))
        if isinstance(wanted, bool):
            assert len(answer) == 1
            self.adopt(int(wanted), is_by_hand=True)
        else:
            assert answer is wanted

    @rule(asks=some(st.tuples(WORKERS, st.integers(1, 3), st.none() | st.sampled_from(["r1", "r2"]))))
    def claim(self, asks: list[tuple[str, int, str | None]]) -> None:
        bodies = [
            ClaimRequest(worker=worker, slots=slots, request_id=request_id, facts=FACTS)
            for worker, slots, request_id in asks
        ]
        for body, found in zip(bodies, self.master.call(claims.claim, bodies), strict=True):
            self.oracle.claim(found, self.master.now, body)
            self.leases += [lease for lease in found if lease not in self.leases]

    @rule(beats=some(st.tuples(WORKERS, st.lists(PLACES, max_size=4))))
    def beat(self, beats: list[tuple[str, list[int]]]) -> None:
        bodies = [
            HeartbeatRequest(
                worker=worker,
                leases=[
                    HeldLease(trial_id=trial_id, attempt=attempt)
                    for trial_id, attempt in {lease.trial_id: lease.attempt for lease in self.at(places)}.items()
                ],
            )
            for worker, places in beats
        ]
        wanted = [self.oracle.beat(body, self.master.now) for body in bodies]
        answers = self.master.call(heartbeats.beat, bodies)
        assert [(set(a.lost), {order.trial_id: order.reason for order in a.stop}) for a in answers] == wanted

    @rule(sent=some(st.tuples(PLACES, st.lists(REPORTS, min_size=1, max_size=3))))
    def report(self, sent: list[tuple[int, list[Report]]]) -> None:
        held = self.at([place for place, _ in sent])
        bodies = [
            (lease.trial_id, ReportBatch(attempt=lease.attempt, reports=points))
            for lease, (_, points) in zip(held, sent, strict=True)
        ]
        accepted = [outcome(partial(self.oracle.report, *body, self.master.now)) for body in bodies]
        wanted = [self.oracle.directive(trial) if isinstance(trial, Trial) else trial for trial in accepted]
        answers = self.master.call(reports.record, [Reported(TrialId(trial_id), body) for trial_id, body in bodies])
        assert [without_message(answer) for answer in answers] == wanted

    @rule(chosen=some(st.tuples(PLACES, ENDINGS)))
    def end(self, chosen: list[tuple[int, completion.Request]]) -> None:
        held = self.at([place for place, _ in chosen])
        self.send_ends(
            [
                (lease.trial_id, request.model_copy(update={"attempt": lease.attempt}))
                for lease, (_, request) in zip(held, chosen, strict=True)
            ]
        )

    @precondition(lambda self: self.ends)
    @rule(repeated=some(PLACES))
    def end_again(self, repeated: list[int]) -> None:
        self.send_ends([self.ends[place % len(self.ends)] for place in repeated])

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def time_passes(self, seconds: float) -> None:
        self.master.now += timedelta(seconds=seconds)
        self.sweep()

    @rule(seconds=st.sampled_from([74, 76, 3_600, 200_000]), restarts=st.sampled_from([False, False, True]))
    def master_is_away(self, seconds: float, restarts: bool) -> None:
        self.sweep()
        self.master.skip_time(seconds)
        if restarts:
            self.master.restart()

    @rule()
    def sweep(self) -> None:
        self.oracle.sweep(self.master.now, sweep_s=SWEEP_S)
        self.master.call(sweeper.sweep, sweep_s=SWEEP_S)

    @rule(name=names, state=st.sampled_from(["running", "paused", "running", "paused", "stopped"]))
    def steer(self, name: str, state: Any) -> None:
        self.patch(name, StudyPatch(state=state))

    @rule(name=names, budget=st.integers(1, 8))
    def edit_budget(self, name: str, budget: int) -> None:
        self.patch(name, StudyPatch(budget=Budget(trials=budget)))

    @rule(name=names, failures=st.none() | st.lists(st.sampled_from(Failure), max_size=3))
    def retry(self, name: str, failures: list[Failure] | None) -> None:
        if name in self.oracle.studies:
            wanted = outcome(lambda: self.oracle.retry(name, failures))
            answer = outcome(
                lambda: self.master.call(manual_trials.retry, name, RetryRequest(failures=failures)).numbers
            )
            assert answer == wanted

    @precondition(lambda self: any(study.state in ENDED for study in self.oracle.studies.values()))
    @rule(name=names)
    def remove(self, name: str) -> None:
        if name in self.oracle.studies:
            wanted = outcome(lambda: self.oracle.delete(name))
            assert outcome(lambda: self.master.call(study_control.delete, name)) == wanted

    @invariant()
    def the_database_holds_what_the_oracle_holds(self) -> None:
        stored: Stored = self.master.read(Stored.read)
        assert stored.as_of_oracle() == expected(self.oracle)
        stored.check()

    def teardown(self) -> None:
        """Stop all faults, and check that every unstopped study completes with exactly its budget."""
        for name, study in self.oracle.studies.items():
            if study.state is StudyState.PAUSED:
                self.patch(name, StudyPatch(state="running"))
        for _ in range(ROUNDS_TO_THE_END):
            self.time_passes(61)  # leases that are not renewed expire, at the latest after the grace of an outage
            self.plan()
            body = ClaimRequest(worker="w9", slots=100, facts=FACTS)
            [found] = self.master.call(claims.claim, [body])
            self.oracle.claim(found, self.master.now, body)
            completed = [CompleteRequest(attempt=lease.attempt, metrics={"loss": 0.5}) for lease in found]
            self.send_ends([(lease.trial_id, request) for lease, request in zip(found, completed, strict=True)])
        self.the_database_holds_what_the_oracle_holds()
        for study in self.oracle.studies.values():
            n = study.budget if study.size is None else min(study.budget, study.size)
            if study.state is not StudyState.STOPPED:
                assert study.state is StudyState.COMPLETE
                assert len(study.trials) == n
            assert not any(trial.state in LIVE for trial in study.trials)
        self.master.read(check_results_are_counted_once)

    def at(self, places: list[int]) -> list[Lease]:
        """Return the leases at these places among all leases, newest first."""
        return [self.leases[-1 - place % len(self.leases)] for place in places]

    def send_ends(self, ends: list[tuple[int, completion.Request]]) -> None:
        wanted = [outcome(partial(self.oracle.end, *end)) for end in ends]
        answers = self.master.call(completion.end, [Ended(TrialId(trial_id), request) for trial_id, request in ends])
        assert [without_message(answer) for answer in answers] == wanted
        self.ends += ends

    def patch(self, name: str, change: StudyPatch) -> None:
        if name in self.oracle.studies:
            wanted = outcome(lambda: self.oracle.patch(name, change))
            answer = outcome(lambda: self.master.call(study_control.change, name, change))
            assert getattr(answer, "state", answer) == wanted

    def adopt(self, n: int, *, is_by_hand: bool = False) -> None:
        known = set(self.oracle.trials)
        found = [row for row in self.master.read(identities) if row[0] not in known]
        assert len(found) == n
        self.oracle.adopt(found, is_by_hand=is_by_hand)

    @staticmethod
    def propose(need: Need) -> Batch:
        return planner.propose(registry.build(need.study.sampler, need.study.spec), need)


def without_message(answer: Any) -> Any:
    """Return an answer without its message; for an error, its kind."""
    if isinstance(answer, TunefleetError):
        return type(answer)
    return answer.model_copy(update={"message": ""}) if hasattr(answer, "message") else answer


@pytest.mark.timeout(amount(1_200, 7_200))  # hypothesis shrinks a failure before it reports it
def test_every_order_of_calls_keeps_every_invariant(master: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "tunefleet_master")

    class Machine(MasterMachine):
        def __init__(self) -> None:
            super().__init__(master)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            derandomize=False,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )

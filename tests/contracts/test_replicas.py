"""Several masters on one Postgres; each has its own `Master`, as if in its own process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
import pytest
from sqlalchemy import text
from tests.contracts.conftest import Master
from tests.postgres import PostgresDatabases

from tunefleet.errors import StorageUnusable
from tunefleet.protocol import CompleteRequest, EnqueueRequest, Event, Lease, StudyState, TrialState
from tunefleet_master.services.execution import sweeper
from tunefleet_master.services.planning import manual_trials
from tunefleet_master.services.reading import events, studies, trials
from tunefleet_master.storage import migrations
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.group_commit import GroupCommitWriter, TransactionHooks, WriteRequest
from tunefleet_master.storage.locks import StudyLocks
from tunefleet_master.storage.notifications import EVERYTHING
from tunefleet_master.storage.observer import NullObserver
from tunefleet_master.storage.subscriptions import CLAIMS
from tunefleet_master.storage.trial_pages import TrialQuery
from tunefleet_master.storage.unit_of_work import UnitOfWork

T = TypeVar("T")


@pytest.fixture
def url(postgres: PostgresDatabases) -> Iterator[str]:
    url = postgres.new_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def masters(url: str) -> Iterator[list[Master]]:
    masters = [Master(url) for _ in range(3)]
    yield masters
    for master in masters:
        master.database.close()


def at_once(*works: Callable[[], T]) -> list[T]:
    """Run all works in threads that start at the same moment."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        start.wait(60)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def run_to_the_end(master: Master, n_claims: int) -> list[int]:
    """Claim and complete until this many claims in a row find nothing; return the numbers of the trials."""
    done: list[int] = []
    misses = 0
    while misses < n_claims:
        leases = master.claim(worker=f"worker-{id(master)}", slots=3)
        misses = 0 if leases else misses + 1
        for lease in leases:
            master.complete(lease, loss=float(lease.number))
            done.append(lease.number)
        master.plan()
    return done


def test_three_masters_give_out_a_budget_exactly_and_the_study_ends(masters: list[Master]) -> None:
    masters[0].submit(budget={"trials": 150}, search={"sampler": "random", "seed": 1})
    found = at_once(*[lambda master=master: run_to_the_end(master, 20) for master in masters])
    numbers = sorted(number for numbers in found for number in numbers)
    assert numbers == list(range(150))
    study = masters[1].read(lambda uow: studies.read(uow, "study"))
    assert (study.state, study.trials) == (StudyState.COMPLETE, {TrialState.COMPLETE: 150})


@pytest.mark.parametrize("attempt", range(5))
def test_the_study_ends_when_its_last_two_trials_end_on_two_masters_at_once(
    masters: list[Master], attempt: int
) -> None:
    masters[0].submit(budget={"trials": 2})
    first, second = masters[0].claim(slots=2)
    at_once(lambda: masters[0].complete(first, loss=1.0), lambda: masters[1].complete(second, loss=2.0))
    assert masters[2].read(lambda uow: studies.read(uow, "study")).state is StudyState.COMPLETE


@pytest.mark.parametrize("attempt", range(5))
def test_the_same_claim_at_two_masters_at_once_gives_the_same_trial(masters: list[Master], attempt: int) -> None:
    masters[0].submit(budget={"trials": 8})
    masters[0].claim("w1", request_id="first")  # the worker is known, as one that repeats itself is
    answers = at_once(*[lambda master=master: master.claim("w1", request_id="again") for master in masters])
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 1


@pytest.mark.parametrize("attempt", range(5))
def test_the_same_end_at_two_masters_at_once_gets_one_answer(masters: list[Master], attempt: int) -> None:
    masters[0].submit()
    [lease] = masters[0].claim()
    request = CompleteRequest(attempt=lease.attempt, metrics={"loss": 0.5})
    answers = at_once(*[lambda master=master: master.end(lease.trial_id, request) for master in masters])
    assert answers[0] == answers[1] == answers[2]
    detail = masters[0].read(lambda uow: trials.read(uow, lease.trial_id))
    assert (detail.state, len(detail.attempts)) == (TrialState.COMPLETE, 1)


def test_a_follower_misses_no_event_of_many_masters(masters: list[Master]) -> None:
    masters[0].submit(budget={"trials": 90}, search={"sampler": "random", "seed": 1})
    seen: list[Event] = []
    over = threading.Event()

    def follow() -> None:
        while True:
            was_over = over.is_set()
            seen.extend(masters[2].read(lambda uow: events.after(uow, "study", seen[-1].id if seen else 0, limit=7)))
            if was_over and not masters[2].read(lambda uow: events.after(uow, "study", seen[-1].id, limit=1)):
                return

    def run(master: Master) -> None:
        run_to_the_end(master, 20)

    follower = threading.Thread(target=follow)
    follower.start()
    at_once(*[lambda master=master: run(master) for master in masters[:2]])
    over.set()
    follower.join(60)
    all_ids = [event.id for event in masters[0].read(lambda uow: events.after(uow, "study", 0, limit=10_000))]
    assert [event.id for event in seen] == all_ids
    assert len(all_ids) == 1 + 3 * 90 + 1


def test_several_sweeps_at_once_count_an_outage_and_an_expired_lease_once(masters: list[Master]) -> None:
    masters[0].submit()
    [lease] = masters[0].claim()
    for master in masters:
        master.call(sweeper.sweep, sweep_s=2.0)
        master.skip_time(600)
    at_once(*[lambda master=master: master.call(sweeper.sweep, sweep_s=2.0) for master in masters])
    for master in masters:
        master.skip_time(55)
    masters[0].call(sweeper.sweep, sweep_s=100.0)
    assert detail_of(masters[0], lease).state is TrialState.RUNNING
    for master in masters:
        master.skip_time(10)
    at_once(*[lambda master=master: master.call(sweeper.sweep, sweep_s=100.0) for master in masters])
    detail = detail_of(masters[0], lease)
    assert (detail.state, [attempt.outcome for attempt in detail.attempts]) == (TrialState.WAITING, ["lost"])


def detail_of(master: Master, lease: Lease) -> Any:
    return master.read(lambda uow: trials.read(uow, lease.trial_id))


def test_concurrent_planning_and_enqueueing_respect_the_budget_without_duplicates(masters: list[Master]) -> None:
    masters[0].submit(budget={"trials": 100}, search={"sampler": "random", "seed": 1})
    for _ in range(6):
        masters[0].claim(slots=8)
    by_hand = EnqueueRequest(params=[{"x": 0.125, "kind": "a"}, {"x": 0.25, "kind": "b"}])
    at_once(*[master.plan for master in masters], lambda: masters[0].call(manual_trials.enqueue, "study", by_hand))
    found = masters[0].read(lambda uow: trials.page(uow, "study", TrialQuery(limit=1000))).items
    assert sorted(trial.number for trial in found) == list(range(100))
    assert sum(trial.origin == "user" for trial in found) == 2
    assert len({str(trial.params) for trial in found}) == 100


def test_a_notification_from_one_master_reaches_the_others(url: str) -> None:
    heard, rung = set[str](), threading.Event()

    def hear(topics: Any) -> None:
        heard.update(topics)
        if EVERYTHING in heard:
            listens.set()
        if CLAIMS in heard:
            rung.set()

    listens = threading.Event()
    here, there = Database(url), Database(url, publish=hear)
    assert listens.wait(60)  # it notifies all topics once it listens
    here.write(lambda uow: uow.notify_after_commit(CLAIMS)).result(60)
    assert rung.wait(60)
    here.close()
    there.close()


def test_one_master_plans_a_study_until_it_dies(url: str) -> None:
    here, there = Database(url), Database(url)
    first, second = StudyLocks(here.engine), StudyLocks(there.engine)
    assert first.hold({1, 2}) == {1, 2}
    assert second.hold({2, 3}) == {3}
    with psycopg.connect(url, autocommit=True) as connection:  # as if the machine of the first one had failed
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE datname = current_database() AND locktype = 'advisory' AND objid IN (1, 2)"
        )
    assert second.hold({1, 2, 3}) == {1, 2, 3}
    with pytest.raises(StorageUnusable):
        first.hold({1})
    assert first.hold({1, 4}) == {4}
    for closing in (first, second, here, there):
        closing.close()


def test_masters_that_start_at_once_create_the_tables_once(url: str) -> None:
    databases = [Database(url) for _ in range(4)]
    made = at_once(*[lambda it=it: migrations.upgrade(it.engine) for it in databases])
    assert sorted(upgrade.before is None for upgrade in made) == [False, False, False, True]
    for database in databases:
        database.close()


def test_masters_use_the_database_clock(url: str) -> None:
    database = Database(url)
    now = database.read(lambda uow: uow.now)
    clock = database.read(lambda uow: uow.connection.execute(text("SELECT clock_timestamp()")).scalar_one())
    assert abs((clock - now).total_seconds()) < 60
    assert database.write(lambda uow: uow.now).result(60) >= now
    database.close()


def _cut(url: str) -> None:
    """End the sessions of the master's writers."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tunefleet-master'"
            " AND datname = current_database()"
        )


def test_a_write_is_repeated_on_a_new_connection_when_the_old_one_is_lost(url: str) -> None:
    database = Database(url)
    database.write(lambda uow: uow.connection.execute(text("CREATE TABLE t (x int)"))).result(60)
    _cut(url)
    database.write(lambda uow: uow.connection.execute(text("INSERT INTO t VALUES (1)"))).result(60)
    _cut(url)
    assert database.read(lambda uow: uow.connection.execute(text("SELECT x FROM t")).scalar_one()) == 1
    database.close()


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_commit_with_an_unknown_outcome_is_repeated_only_if_the_request_is_idempotent(
    url: str, idempotent: bool
) -> None:
    database = Database(url)
    database.write(lambda uow: uow.connection.execute(text("CREATE TABLE t (x int)"))).result(60)
    cuts = iter([True])

    def cut_once() -> None:
        if next(cuts, False):
            _cut(url)

    hooks = TransactionHooks(
        now=lambda connection: database.read(lambda uow: uow.now),
        begin=lambda connection, now: UnitOfWork(connection, now, 60, 10),
        finish=lambda connection, units: None,
        publish=lambda topics: None,
        before_commit=cut_once,
        after_commit=lambda: None,
    )
    writer = GroupCommitWriter("writer", database.engine, hooks=hooks, observer=NullObserver())
    answer: Future[int] = Future()
    insert = text("INSERT INTO t VALUES (1)")
    writer.put(WriteRequest(lambda uow, _: [uow.connection.execute(insert).rowcount], None, idempotent, answer))
    if idempotent:
        assert answer.result(60) == 1
    else:
        with pytest.raises(StorageUnusable, match="was lost during the commit"):
            answer.result(60)
    n_rows = database.read(lambda uow: uow.connection.execute(text("SELECT count(*) FROM t")).scalar_one())
    assert n_rows == (1 if idempotent else 0)
    writer.close()
    database.close()

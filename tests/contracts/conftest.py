"""A master without HTTP: a real database, a clock that the test moves, and a planner that the test calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest
from tests.conftest import new_database
from tests.contracts.stored import wipe

from tunefleet.errors import StorageUnusable
from tunefleet.names import TrialId
from tunefleet.protocol import ClaimRequest, CompleteRequest, EndResponse, Lease, Report, ReportBatch, WorkerFacts
from tunefleet.study.spec import StudySpec
from tunefleet_master.search import registry
from tunefleet_master.services.execution import claims, completion, reports, sweeper
from tunefleet_master.services.execution.completion import Ended
from tunefleet_master.services.execution.early_stopping import RungTables
from tunefleet_master.services.execution.reports import Reported
from tunefleet_master.services.planning import pending_work, planner, promotion, racing, stages, submission
from tunefleet_master.services.planning.promotion import Promotion
from tunefleet_master.services.planning.stages import NextStage
from tunefleet_master.storage import migrations
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.unit_of_work import UnitOfWork

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)
SWEEP_S = 2.0


def spec_of(**changes: Any) -> StudySpec:
    """A small study; keys given replace its own."""
    data: dict[str, Any] = {
        "name": "study",
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"function": "train:train"},
        "space": {"x": {"float": [0, 1]}, "kind": ["a", "b"]},
        "search": {"sampler": "random"},
        "budget": {"trials": 4},
    }
    return StudySpec.parse({**data, **changes})


class Master:
    """Calls services as the API does, each in its own transaction."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now = START
        self.topics: set[str] = set()
        self.database = self._open()
        migrations.upgrade(self.database.engine)

    def _open(self) -> Database:
        return Database(self.url, clock=lambda: self.now, publish=self.topics.update)

    def restart(self) -> None:
        """Close the database and open it again, as a new process would."""
        self.database.close()
        self.database = self._open()

    def call(self, service: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run a service and wait for its commit."""
        return self.database.write(lambda uow: service(uow, *args, **options)).result(timeout=60)

    def ask(self, service: Callable[[UnitOfWork, Sequence[Any]], Sequence[Any]], item: Any) -> Any:
        """Call a service that serves many requests in one transaction, and wait for its commit."""
        return self.database.write_together(service, item).result(timeout=60)

    def read(self, query: Callable[[UnitOfWork], T]) -> T:
        """Read on a connection that cannot write."""
        return self.database.read(query)

    def pass_time(self, seconds: float) -> None:
        """Move the clock, sweeping as the master would."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.now = min(self.now + timedelta(seconds=SWEEP_S), end)
            self.call(sweeper.sweep, sweep_s=SWEEP_S)

    def skip_time(self, seconds: float) -> None:
        """Move the clock without a sweep: the master was down."""
        self.now += timedelta(seconds=seconds)

    def submit(self, **changes: Any) -> StudySpec:
        """Submit a study and fill its queue."""
        spec = spec_of(**changes)
        self.call(submission.submit, spec)
        self.plan()
        return spec

    def promotions(self) -> list[Promotion]:
        """Return the planner's decisions on paused trials."""
        paused = self.read(pending_work.pending_work).paused
        return [
            it for study in paused for it in self.read(partial(promotion.decided, study=study, tables=RungTables()))
        ]

    def next_stages(self) -> list[NextStage]:
        """Return the stages that the planner would begin."""
        return [self.read(partial(stages.plan, study=study)) for study in self.read(pending_work.pending_work).due]

    def apply_eliminations(self) -> None:
        """End the folds of configurations that lose their race."""
        for study in self.read(pending_work.pending_work).racing:
            for elimination in self.read(partial(racing.Races().eliminations, study=study)):
                self.call(racing.eliminate, study=study, elimination=elimination)

    def plan(self) -> None:
        """Promote, eliminate, begin due stages and fill all queues, as the planner does."""
        self.apply_eliminations()
        while promotions := self.promotions():
            for decision in promotions:
                self.call(promotion.carry_out, decision)
        for following in self.next_stages():
            self.call(stages.begin, following)
        while lacking := self.read(pending_work.needs):
            for need in lacking:
                sampler = registry.build(need.study.sampler, need.study.searched)
                self.call(planner.add_batch, need.study.id, planner.propose(sampler, need))

    def claim(self, worker: str = "w1", **fields: Any) -> list[Lease]:
        """Claim as a worker that may run code."""
        facts = fields.pop("facts", WorkerFacts(allow_code=True))
        leases: list[Lease] = self.ask(claims.claim, ClaimRequest(worker=worker, facts=facts, **fields))
        return leases

    def report(self, lease: Lease, step: int, **metrics: float) -> Any:
        """Report metrics at a step."""
        batch = ReportBatch(attempt=lease.attempt, reports=[Report(step=step, metrics=metrics)])
        return self.ask(reports.record, Reported(lease.trial_id, batch))

    def complete(self, lease: Lease, **metrics: float) -> EndResponse:
        """Complete with final metrics."""
        return self.end(lease.trial_id, CompleteRequest(attempt=lease.attempt, metrics=metrics))

    def end(self, trial_id: int, request: completion.Request) -> EndResponse:
        """End an attempt."""
        answer: EndResponse = self.ask(completion.end, Ended(TrialId(trial_id), request))
        return answer

    def renew(self) -> None:
        """Start over with an empty database."""
        self.now = START
        self.topics.clear()
        try:
            self.call(wipe)
        except StorageUnusable:  # the test before has closed it
            self.database = self._open()
            self.call(wipe)


# Tests of locks and upserts run on an older Postgres, too.
ON_AN_OLDER_POSTGRES = [f"test_{name}" for name in ("leases", "reports", "replicas", "budgets", "growth", "durability")]

# Tests of the database's settings, or of the secret that its migrations create, get a database of their own. All others
# share one that is wiped in between: connecting, migrating and compiling the statements takes longer than most tests.
ON_A_DATABASE_OF_ITS_OWN = [f"test_{name}" for name in ("growth", "durability", "tokens")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that need a database on each kind."""
    if "database_kind" in metafunc.fixturenames:
        older = ["system-postgresql"] if _module(metafunc.module) in ON_AN_OLDER_POSTGRES else []
        metafunc.parametrize("database_kind", ["sqlite", "postgresql", *older], scope="session")


def _module(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


@pytest.fixture(scope="session")
def shared_master(
    request: pytest.FixtureRequest, database_kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Master]:
    """The master that tests share, on each kind of database."""
    with new_database(request, database_kind, tmp_path_factory.mktemp("shared")) as url:
        master = Master(url)
        yield master
        master.database.close()


@pytest.fixture
def master(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[Master]:
    """A master on an empty database of each kind."""
    if _module(request.module) not in ON_A_DATABASE_OF_ITS_OWN:
        shared: Master = request.getfixturevalue("shared_master")
        shared.renew()
        yield shared
        return
    with new_database(request, database_kind, tmp_path) as url:
        master = Master(url)
        yield master
        master.database.close()

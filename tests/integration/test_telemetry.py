"""The metrics at /metrics: counters since the start, gauges from the database, and a database that is down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from tests.postgres import PostgresServer, running_postgres

from tunefleet_master.app import create_app
from tunefleet_master.settings import Settings

MAX_WAIT_S = 120.0


def samples(api: Any) -> Callable[..., float]:
    """A scrape, as a function of a sample's name and labels; raises KeyError for a missing one."""
    return read(api.http.get("/metrics"))


def read(scraped: httpx.Response) -> Callable[..., float]:
    """A parsed scrape, as a function of a sample's name and labels."""
    text = scraped.raise_for_status().text
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return lambda name, **labels: found[f"tunefleet_{name}", frozenset(labels.items())]


def test_actions_of_workers_are_counted(api) -> None:
    api.submit()
    lease = api.claim()[0]
    api.claim(wait_s=0, study="no-such-study")
    api.report(lease, 0, val_accuracy=0.5)
    api.post(f"/trials/{lease['trial_id']}/complete", {"attempt": 99})
    api.complete(lease)

    now = samples(api)

    route = "/api/v1/trials/{trial_id}/reports"
    assert now("requests_total", method="POST", route=route, status="200") == 1
    assert now("request_seconds_count", method="POST", route=route) == 1
    assert now("problems_total", status="409", code="lease_lost") == 1
    assert now("claims_total", outcome="given") == 1
    assert now("claims_total", outcome="empty") == 1
    assert now("leases_total") == 1
    assert now("reports_total") == 1
    assert now("attempts_ended_total", state="complete", failure="none") == 1


def test_gauges_show_the_fleet(api) -> None:
    empty = samples(api)
    api.submit(budget={"trials": 3})
    api.claim()

    now = samples(api)

    assert empty("queue_trials") == empty("running_trials") == empty("workers_alive") == 0
    assert math.isnan(empty("lease_next_deadline_seconds"))
    assert now("database_up") == 1
    assert now("studies", state="running") == 1
    assert now("studies", state="paused") == 0
    assert now("queue_trials") == 2
    assert now("running_trials") == 1
    assert now("workers_alive") == 1
    assert now("leases_overdue") == 0
    assert 0 < now("lease_next_deadline_seconds") <= 60
    assert 0 <= now("lease_oldest_age_seconds") < 60
    assert 0 <= now("sweep_age_seconds") < 60


def test_trials_of_a_paused_study_are_not_in_the_queue_but_hold_their_leases(api) -> None:
    api.submit(budget={"trials": 3})
    api.claim()
    api.http.patch("/api/v1/studies/study", json={"state": "paused"})

    now = samples(api)

    assert (now("queue_trials"), now("running_trials")) == (0, 1)
    assert now("studies", state="paused") == 1


def test_names_and_unknown_methods_do_not_become_labels(api) -> None:
    api.get("/studies/some-name")
    api.http.get("/some-other-name")
    api.http.request("BREW", "/healthz")

    text = api.http.get("/metrics").text

    assert "some-name" not in text
    assert "some-other-name" not in text
    assert "BREW" not in text


def test_the_work_of_sampler_and_database_is_timed(api) -> None:
    api.submit(search={"sampler": "sobol"})
    api.claim()

    now = samples(api)

    assert now("proposal_seconds_count", sampler="sobol") == 1
    for kind in ("read", "write"):
        assert now("database_transaction_seconds_count", kind=kind) > 0
        assert now("database_wait_seconds_count", kind=kind) == now("database_batch_requests_sum", kind=kind)
        assert now("database_rollbacks_total", kind=kind) == 0


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + MAX_WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Any]:
    """A master with leases of 0.3 s."""
    with TestClient(create_app(Settings(data=tmp_path, lease_s=0.3)), base_url="http://127.0.0.1") as http:
        yield http


def test_expired_leases_and_late_heartbeats_are_counted(hasty, api) -> None:
    hasty.post("/api/v1/studies", json=api.study_of()).raise_for_status()
    hasty.post("/api/v1/claims", json={"worker": "slow", "wait_s": 10}).raise_for_status()

    wait_for(lambda: read(hasty.get("/metrics"))("leases_expired_total") == 1)
    hasty.post("/api/v1/heartbeats", json={"worker": "slow"}).raise_for_status()

    now = read(hasty.get("/metrics"))
    assert now("heartbeat_lag_seconds_count") == 1
    assert now("heartbeat_lag_seconds_sum") > 0.3 - 0.05  # a lease without a heartbeat, less the interval of heartbeats
    assert now("workers_alive") == 1


@pytest.fixture
def mortal_postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


def test_an_unreachable_database_is_a_metric_and_no_failed_scrape(mortal_postgres, start_master) -> None:
    master = start_master("--database", mortal_postgres.new_database())
    before = read(httpx.get(f"{master.url}/metrics"))
    mortal_postgres.kill()

    after = read(httpx.get(f"{master.url}/metrics", timeout=120))

    assert (before("database_up"), after("database_up")) == (1, 0)
    assert before("queue_trials") == 0
    assert math.isnan(after("queue_trials"))
    assert after("requests_total", method="GET", route="/metrics", status="200") == 1

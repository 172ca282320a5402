"""What /metrics says: counted since the start, read from the database, and what happens when that is gone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

SHOWN_WITHIN_S = 20.0

Labels = dict[str, str]


def samples(api: Any) -> Callable[..., float]:
    """A scrape, as a function of a sample's name and labels; raises KeyError for what is not there."""
    text = api.http.get("/metrics").text
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return lambda name, **labels: found[f"tunefleet_{name}", frozenset(labels.items())]


def test_what_workers_do_is_counted(api) -> None:
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


def test_the_fleet_is_shown_as_it_is(api) -> None:
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


def test_names_and_made_up_methods_do_not_become_labels(api) -> None:
    api.get("/studies/some-name")
    api.http.get("/some-other-name")
    api.http.request("BREW", "/healthz")

    text = api.http.get("/metrics").text

    assert "some-name" not in text
    assert "some-other-name" not in text
    assert "BREW" not in text

"""The master's metrics for Prometheus, in their own registry, so that two masters in one process do not mix.

Labels have few values that the master defines: names of studies, trials and workers are never labels. Metrics of
requests are bound to their labels once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase

from tunefleet.protocol import EndResponse, StudyState
from tunefleet_master.services.reading.metrics import Fleet
from tunefleet_master.storage.observer import Kind, Measurement, Transaction

# From one group commit to a long poll of 25 s.
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# From a read of one row to the longest statement that Postgres is allowed.
DATABASE_BUCKETS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# From the jitter of a heartbeat to several leases; half the interval of 10 s is late.
LAG_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 50.0, 120.0, 600.0)
# From a random draw to a model fitted to thousands of trials.
PROPOSAL_BUCKETS_S = (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

Metric = TypeVar("Metric", bound=MetricWrapperBase)


class _Bound(dict[tuple[str, ...], Metric], Generic[Metric]):
    """Children of a metric by their labels; a repeated lookup reads a dictionary, without a lock."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> Metric:
        child = self[labels] = self._metric.labels(*labels)
        return child


class PrometheusMetrics:
    """Counters and histograms that the master updates, and gauges that a scrape sets; an `Observer` of the database."""

    def __init__(self, *, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        Info("tunefleet_build", "The version of the master.", registry=self._registry).info({"version": version})
        self._add_requests()
        self._add_work()
        self._add_database()
        self._fleet = _FleetGauges(self._registry)
        self._measured: dict[Measurement, Callable[[float], None]] = {
            Measurement.LEASE_EXPIRED: self._counter("leases_expired", "Leases that expired.").inc,
            Measurement.HEARTBEAT_LAG: self._histogram(
                "heartbeat_lag_seconds", "Delay of a worker's heartbeat after its due time.", LAG_BUCKETS_S
            ).observe,
        }

    def _add_requests(self) -> None:
        self._requests = _Bound(
            self._counter("requests", "Requests answered, by route template and status.", "method", "route", "status")
        )
        text = "Time to the end of the response; claims and event streams wait on purpose."
        self._request_seconds = _Bound(
            self._histogram("request_seconds", text, LATENCY_BUCKETS_S, "method", "route"),
        )
        self._problems = _Bound(
            self._counter("problems", "Requests refused, by status and code (409 lease_lost, …).", "status", "code")
        )

    def _add_work(self) -> None:
        claims = self._counter("claims", "Claims answered, by whether they got leases.", "outcome")
        self._claims = {True: claims.labels("given"), False: claims.labels("empty")}
        self._leases = self._counter("leases", "Leases granted to workers.")
        waiting = Gauge(
            "tunefleet_claims_waiting", "Long polls at this master that wait for a trial.", registry=self._registry
        )
        self.claims_waiting = waiting
        self.reports = self._counter("reports", "Reports accepted, repeats included.")
        text = "Attempts that workers ended, by the trial's new state; repeated calls included."
        self._ended = _Bound(self._counter("attempts_ended", text, "state", "failure"))
        text = "Time of a sampler for one batch of proposals."
        self._proposals = _Bound(self._histogram("proposal_seconds", text, PROPOSAL_BUCKETS_S, "sampler"))

    def _add_database(self) -> None:
        waited = self._histogram(
            "database_wait_seconds", "Time from a request to the begin of its transaction.", DATABASE_BUCKETS_S, "kind"
        )
        took = self._histogram(
            "database_transaction_seconds", "Time from the begin to the end of the commit.", DATABASE_BUCKETS_S, "kind"
        )
        batch = self._histogram("database_batch_requests", "Requests that shared a transaction.", BATCH_BUCKETS, "kind")
        failed = self._counter("database_rollbacks", "Transactions that were rolled back.", "kind")
        kinds: tuple[Kind, ...] = ("read", "write")
        self._database = {
            kind: _DatabaseWork(kind, waited=waited, took=took, batch=batch, failed=failed) for kind in kinds
        }
        text = "Transactions that were retried, by reason."
        self._retries = _Bound(self._counter("database_retries", text, "kind", "reason"))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"tunefleet_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"tunefleet_{name}", text, labels, buckets=buckets, registry=self._registry)

    # --- Called by the API and the services

    def answered(self, method: str, route: str, *, status: int, seconds: float) -> None:
        """Count a response; `route` is the template of its path."""
        method = method if method in METHODS else "other"  # a client may send any method
        self._requests[method, route, str(status)].inc()
        self._request_seconds[method, route].observe(seconds)

    def refused(self, status: int, code: str) -> None:
        """Count a response with a problem document."""
        self._problems[str(status), code].inc()

    def claimed(self, n: int) -> None:
        """Count a claim that got `n` leases."""
        self._claims[n > 0].inc()
        self._leases.inc(n)

    def attempt_ended(self, end: EndResponse) -> None:
        """Count an attempt that a worker ended: completed, failed or released."""
        self._ended[end.state, end.failure or "none"].inc()

    def proposed(self, sampler: str, seconds: float) -> None:
        """Record the time of a sampler for a batch of proposals."""
        self._proposals[(sampler,)].observe(seconds)

    # --- Called by the database: the `Observer`

    def ended(self, transaction: Transaction) -> None:
        """Record a transaction that has ended."""
        self._database[transaction.kind].add(transaction)
        for what, amount in transaction.measurements:
            self._measured[what](amount)

    def retried(self, kind: Kind, reason: str) -> None:
        """Count a retry of a transaction."""
        self._retries[kind, reason].inc()

    # --- Called by a scrape

    def show(self, fleet: Fleet | None) -> None:
        """Set the gauges to the current state of the fleet; None: the database does not respond."""
        self._fleet.set(fleet)

    def text(self) -> bytes:
        """All metrics, in the text format of Prometheus."""
        return generate_latest(self._registry)


class _DatabaseWork:
    """The metrics of the transactions of one kind."""

    def __init__(self, kind: Kind, *, waited: Histogram, took: Histogram, batch: Histogram, failed: Counter) -> None:
        self._waited = waited.labels(kind)
        self._took = took.labels(kind)
        self._batch = batch.labels(kind)
        self._failed = failed.labels(kind)

    def add(self, transaction: Transaction) -> None:
        """Record a transaction."""
        self._took.observe(transaction.ended_at - transaction.began_at)
        self._batch.observe(len(transaction.requests))
        for request in transaction.requests:
            self._waited.observe(transaction.began_at - request.at)
        if not transaction.committed:
            self._failed.inc()


class _FleetGauges:
    """Gauges read from the database; every master on it shows the same values, so do not sum them over masters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"tunefleet_{name}", text, labels, registry=registry)

        self._up = gauge("database_up", "1: the database responded to this scrape, 0: it did not.")
        self._studies = gauge("studies", "Studies by state.", "state")
        next_text = "Time until the next lease expires; below 0: it expired and is not swept yet; NaN: no lease."
        oldest_text = "Time since the claim of the longest running attempt; NaN: none runs."
        swept_text = "Time since the last lease sweep by any master; NaN: never."
        self._readings: list[tuple[Gauge, Callable[[Fleet], float | None]]] = [
            (gauge("queue_trials", "Trials of running studies that wait for a worker."), lambda now: now.n_waiting),
            (gauge("running_trials", "Trials with a lease."), lambda now: now.leases.n),
            (gauge("leases_overdue", "Leases that expired and are not swept yet."), lambda now: now.leases.n_overdue),
            (gauge("lease_next_deadline_seconds", next_text), lambda now: now.next_deadline_s),
            (gauge("lease_oldest_age_seconds", oldest_text), lambda now: now.oldest_lease_s),
            (gauge("workers_alive", "Workers that made contact within a lease."), lambda now: now.workers_alive),
            (gauge("sweep_age_seconds", swept_text), lambda now: now.sweep_age_s),
        ]

    def set(self, fleet: Fleet | None) -> None:
        """Set the gauges; NaN for unknown values."""
        self._up.set(fleet is not None)
        for state in StudyState:
            self._studies.labels(state).set(math.nan if fleet is None else fleet.studies.get(state, 0))
        for gauge, reading in self._readings:
            value = None if fleet is None else reading(fleet)
            gauge.set(math.nan if value is None else value)

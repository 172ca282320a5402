"""What the master counts for Prometheus, in a registry of its own: two masters in one process do not mix."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from tunefleet.protocol import TrialState
from tunefleet_master.services.metrics import FleetCounts

# From one group commit to a long poll of 25 s.
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Telemetry:
    """Counters that requests move, and gauges that a scrape sets."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self.requests = Counter(
            "tunefleet_requests",
            "Requests answered, by route template and status.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "tunefleet_request_seconds",
            "Time to the end of the answer; claims and event streams wait on purpose.",
            ("method", "route"),
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self.leases = Counter("tunefleet_leases", "Leases given to workers.", registry=self._registry)
        self.reports = Counter("tunefleet_reports", "Reports accepted, repeats included.", registry=self._registry)
        self.problems = Counter(
            "tunefleet_problems", "Requests refused, by code (lease_lost, …).", ("code",), registry=self._registry
        )
        self._trials = Gauge(
            "tunefleet_trials", "Trials of the running studies, by state.", ("state",), registry=self._registry
        )
        self._running = Gauge("tunefleet_studies_running", "Studies that run.", registry=self._registry)
        self._alive = Gauge("tunefleet_workers_alive", "Workers heard within a lease.", registry=self._registry)

    def show(self, fleet: FleetCounts) -> None:
        """Set the gauges to what the fleet is now."""
        for state in TrialState:
            self._trials.labels(state).set(fleet.trials.get(state, 0))
        self._running.set(fleet.running_studies)
        self._alive.set(fleet.workers_alive)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)

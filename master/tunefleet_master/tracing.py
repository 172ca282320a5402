"""OpenTelemetry spans of requests and their transactions.

Needs the extra `telemetry`. `app.py` imports it when OpenTelemetry's environment variables name an endpoint. These
variables also set the sampling and the service's name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tunefleet_master.storage.observer import Kind, Queued, Transaction

UNTRACED = "healthz,readyz,metrics,login"
"""Paths without spans: what programs poll every few seconds, and the login, whose URL may contain a token."""

SERVICE = "tunefleet-master"
CLOSE_WITHIN_S = 2.0
NS_PER_S = 1_000_000_000


class Traces:
    """An `Observer` that creates a span for each request's part in a transaction, as a child of the request's span.

    Transactions without a request (sweeps, planning) get no span.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("tunefleet_master.storage")

    def ended(self, transaction: Transaction) -> None:
        """Create the spans of a transaction."""
        # The database's times have no epoch.
        epoch_ns = time.time_ns() - int(time.perf_counter() * NS_PER_S)
        for queued in transaction.requests:
            self._add(queued, transaction, epoch_ns=epoch_ns)

    def retried(self, kind: Kind, reason: str) -> None:
        """Add nothing: each attempt of a transaction has its own span."""

    def close(self) -> None:
        """Send the remaining spans; drop those that take too long, because a collector must not delay a master."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(CLOSE_WITHIN_S)

    def _add(self, queued: Queued, transaction: Transaction, *, epoch_ns: int) -> None:
        request: trace.Span = queued.context.run(trace.get_current_span)
        if not request.get_span_context().is_valid:
            return
        span = self._tracer.start_span(
            f"database {transaction.kind}",
            context=trace.set_span_in_context(request),
            start_time=epoch_ns + int(queued.at * NS_PER_S),
            attributes={
                "tunefleet.wait_s": transaction.began_at - queued.at,
                "tunefleet.batch_requests": len(transaction.requests),
                "tunefleet.committed": transaction.committed,
            },
        )
        span.end(epoch_ns + int(transaction.ended_at * NS_PER_S))


def install(app: FastAPI, environ: Mapping[str, str]) -> Traces:
    """Trace the application's requests; the environment names the endpoint."""
    service = environ.get("OTEL_SERVICE_NAME", SERVICE)
    resource = Resource.create({"service.name": service, "service.version": app.version})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),  # Prometheus has the metrics
        excluded_urls=UNTRACED,
        exclude_spans=["receive", "send"],
    )
    return Traces(provider)

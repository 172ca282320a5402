"""Traces: what a master sends to a collector, and that it loads nothing of OpenTelemetry when nobody asks for them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(ThreadingHTTPServer):
    """Takes spans over OTLP, on loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []
        self.services: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_request_is_a_span_and_its_transaction_one_below_it(collector, start_master, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    master = start_master()
    beat = {"worker": "traced"}
    httpx.post(f"{master.url}/api/v1/heartbeats", json=beat).raise_for_status()
    httpx.get(f"{master.url}/healthz").raise_for_status()
    assert master.stop()[0] == 0  # which sends what is left

    [request] = [span for span in collector.spans if span.name == "POST /api/v1/heartbeats"]
    [transaction] = [span for span in collector.spans if span.parent_span_id == request.span_id]
    assert transaction.name == "database write"
    assert transaction.trace_id == request.trace_id
    assert request.start_time_unix_nano <= transaction.start_time_unix_nano
    assert transaction.end_time_unix_nano <= request.end_time_unix_nano
    told = {attribute.key: attribute.value for attribute in transaction.attributes}
    assert told["tunefleet.batch_requests"].int_value >= 1
    assert told["tunefleet.committed"].bool_value
    assert collector.services == {"tunefleet-master"}
    assert not [span for span in collector.spans if "healthz" in span.name]


def test_a_collector_that_is_gone_neither_fails_requests_nor_holds_the_master_up(start_master, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    master = start_master()
    assert httpx.post(f"{master.url}/api/v1/heartbeats", json={"worker": "traced"}).status_code == 200
    assert master.stop()[0] == 0


def test_without_an_endpoint_nothing_that_makes_or_sends_spans_is_loaded() -> None:
    # FastAPI itself loads OpenTelemetry's interface.
    code = (
        "import sys, json, pathlib, tempfile; from tunefleet_master.app import create_app\n"
        "from tunefleet_master.settings import Settings\n"
        "create_app(Settings(data=pathlib.Path(tempfile.gettempdir())))\n"
        "print(json.dumps(sorted(name for name in sys.modules if name.startswith('opentelemetry.'))))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.split(".")[1] for name in json.loads(ran.stdout)}

    assert loaded.isdisjoint({"sdk", "exporter", "instrumentation"})

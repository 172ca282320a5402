"""Bad requests, however many and however large, leave nothing behind in the master's memory (I11)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chaos import amount

N_REQUESTS = amount(1_000, 30_000)
MAY_GROW_BYTES = 8_000_000
"""It is less than 1 MB as a rule; the bodies are 80 MB."""

LARGE = "x" * 100_000
JSON = {"Content-Type": "application/json"}


def bad_request(number: int) -> dict[str, Any]:
    """Another one for each number: no two have the same names, bodies and headers."""
    text = f"{number}-{LARGE}"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    choices: tuple[dict[str, Any], ...] = (
        {"url": "/api/v1/studies", "content": f'{{"name": "{text}"', "headers": JSON},
        {"url": "/api/v1/studies", "content": json.dumps({"name": f"s{number}", text: 1}), "headers": JSON},
        {"url": "/api/v1/claims", "content": "[" * (50_000 + number), "headers": JSON},
        {"url": "/api/v1/claims", "content": json.dumps({"worker": f"bad {text}"}), "headers": JSON},
        {"url": f"/api/v1/trials/{number}/reports", "content": json.dumps({"attempt": text}), "headers": JSON},
        {"url": f"/api/v1/trials/{number}/complete", "content": json.dumps({"attempt": 1}), "headers": JSON},
        {"url": f"/api/v1/nothing-{number}", "content": text},
        {"url": f"/api/v1/studies/s{number}?x={number}", "method": "GET"},
        {"url": f"/api/v1/studies/s{number}/events", "method": "GET"},
        {
            "url": f"/page-{number}",
            "method": "GET",
            "headers": {"Accept": "text/html", "Cookie": f"c{number}={number}"},
        },
        {"url": "/api/v1/workers", "method": "GET", "headers": {"Authorization": f"Bearer no-{number}"}},
        {"url": "/api/v1/workers", "method": f"X{number}"},
        {"url": f"/api/v1/bundles/{'0' * 64}", "method": "PUT", "content": text},
        {"url": f"/api/v1/trials/{number}/artifacts/a?attempt=1&sha256={sha256}", "method": "PUT", "content": text},
    )
    return {"method": "POST", **choices[number % len(choices)]}


def resident_bytes(pid: int) -> int:
    """The memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(1_200)
def test_bad_requests_leave_nothing_in_the_masters_memory(start_master: Callable[..., Any], database_url: str) -> None:
    master = start_master("--database", database_url, is_cold=True)  # its memory is its own
    numbers: Iterator[int] = iter(range(10**9))
    with httpx.Client(base_url=master.url, timeout=120) as http:

        def send(n: int) -> tuple[int, int]:
            for _ in range(n):
                answer = http.request(**bad_request(next(numbers)))
                assert answer.status_code < 500, answer.text
            return resident_bytes(master.process.pid), len(http.get("/metrics").text.splitlines())

        warm, n_series = send(N_REQUESTS // 3)
        held, n_series_later = send(N_REQUESTS)

    assert held - warm < MAY_GROW_BYTES
    assert n_series_later < n_series + 50, "names of requests have become labels"

"""Tunefleet's workers under load, without training: many in one process, over keep-alive connections.

Each does over the wire what `tunefleet-worker` does: it claims with a long poll and an id of the request, reports, and
completes.

single: each report is a request of its own, and the next waits for its answer.
batched: all of a trial's reports are one request, as the worker sends them when they come faster than answers.
turns: one worker, batched, a trial at each of two masters in turn; the times of claims are those of the first master,
       the second, the first, and so on.
idle: the study has no trials; each worker has a long poll and a heartbeat of its own.

It prints `ready` once every worker has done one round, begins to count at the line `go` on its stdin, counts for
`--seconds`, and prints one JSON object. The masters' token is in TUNEFLEET_TOKEN.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import uvloop
from benchmarks.load.connection import Connection

N_REPORTS = 10
CLAIM_WAIT_S = 25
HEARTBEAT_S = 10.0

FACTS = json.dumps(
    {"host": "bench", "device": "cpu", "slots": 1, "labels": [], "allow_code": True, "version": "0.1.0"}
).encode()

REPORTS = [b'{"step":%d,"metrics":{"loss":%.6f},"number":0}' % (step, 1 / (step + 1)) for step in range(N_REPORTS)]
SINGLE = [b"[%s]" % report for report in REPORTS]
BATCHED = [b"[%s]" % b",".join(REPORTS)]


@dataclass
class Tally:
    """The work between the line `go` and the end."""

    counting: bool = False
    ended: bool = False
    trials: float = 0.0
    claims_s: list[float] = field(default_factory=list)

    def step(self, share: float) -> None:
        """Count a part of a trial, so that a trial across the end of a round counts in part."""
        if self.counting:
            self.trials += share

    def add(self, *claims_s: float) -> None:
        """Record the seconds of claims."""
        if self.counting:
            self.claims_s += claims_s


Loop = Callable[[asyncio.Semaphore], Awaitable[None]]
"""The loop of one worker; it releases the semaphore when it is warm."""


class Worker:
    """One worker; `batches` are the bodies of its reports, without the attempt."""

    def __init__(self, name: str, study: str, *, batches: Sequence[bytes], tally: Tally) -> None:
        self._batches = batches
        self._tally = tally
        self._share = 1 / (len(batches) + 2)
        head = {"worker": name, "study": study, "slots": 1, "wait_s": CLAIM_WAIT_S}
        self._claim = json.dumps(head)[:-1].encode() + b',"facts":%s,"request_id":"%s-' % (FACTS, name.encode())
        self._numbers = count()

    async def claim(self, connection: Connection) -> bytes:
        """One claim, with its long poll."""
        return await connection.post("/api/v1/claims", self._claim + b'%d"}' % next(self._numbers))

    async def run_trial(self, connection: Connection) -> float:
        """Claim a trial, report, complete it; return the seconds of the claim."""
        began = time.perf_counter()
        leases: list[dict[str, Any]] = []
        while not leases:
            leases = json.loads(await self.claim(connection))["leases"]
        claim_s = time.perf_counter() - began
        self._tally.step(self._share)
        trial, attempt = leases[0]["trial_id"], leases[0]["attempt"]
        for batch in self._batches:
            body = b'{"attempt":%d,"reports":%s}' % (attempt, batch)
            directive = json.loads(await connection.post(f"/api/v1/trials/{trial}/reports", body))["directive"]
            assert directive == "continue", directive
            self._tally.step(self._share)
        await connection.post(f"/api/v1/trials/{trial}/complete", b'{"attempt":%d}' % attempt)
        self._tally.step(self._share)
        return claim_s


class Fleet:
    """All workers of a run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._urls: list[str] = arguments.urls
        self._study: str = arguments.study
        self._n: int = arguments.workers
        self._batches = SINGLE if arguments.style == "single" else BATCHED
        self._style: str = arguments.style
        self._tally = Tally()

    def loops(self) -> list[Loop]:
        """The loop of each worker."""
        numbers = range(self._n)
        match self._style:
            case "turns":
                return [self._take_turns]
            case "idle":
                return [loop for i in numbers for loop in (self._poll_of(i), self._beat_of(i))]
        return [self._work_of(i) for i in numbers]

    async def run(self, seconds: float) -> Tally:
        """Run the workers, announce when all are warm, and count from the line `go`."""
        warm = asyncio.Semaphore(0)
        loops = self.loops()
        working = asyncio.gather(*(loop(warm) for loop in loops))
        await self._until_warm(working, warm, n=len(loops))
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        self._tally.counting = True
        await asyncio.wait({working}, timeout=seconds)
        self._tally.counting, self._tally.ended = False, True
        if self._style == "idle":
            working.cancel()  # a long poll is not worth waiting for
        with suppress(asyncio.CancelledError):
            await working
        return self._tally

    async def _until_warm(self, working: asyncio.Future[Any], warm: asyncio.Semaphore, *, n: int) -> None:
        async def everyone() -> None:
            for _ in range(n):
                await warm.acquire()

        await asyncio.wait({working, asyncio.ensure_future(everyone())}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working  # it failed

    async def _connect(self, number: int) -> Connection:
        return await Connection.open(self._urls[number % len(self._urls)], os.environ.get("TUNEFLEET_TOKEN"))

    def _work_of(self, number: int) -> Loop:
        async def work(warm: asyncio.Semaphore) -> None:
            worker = Worker(f"bench-{number}", self._study, batches=self._batches, tally=self._tally)
            connection = await self._connect(number)
            await worker.run_trial(connection)
            warm.release()
            while not self._tally.ended:
                self._tally.add(await worker.run_trial(connection))

        return work

    async def _take_turns(self, warm: asyncio.Semaphore) -> None:
        worker = Worker("bench", self._study, batches=self._batches, tally=self._tally)
        first, second = await self._connect(0), await self._connect(1)
        for place in range(40):
            await worker.run_trial(second if place % 2 else first)
        warm.release()
        while not self._tally.ended:
            self._tally.add(await worker.run_trial(first), await worker.run_trial(second))

    def _poll_of(self, number: int) -> Loop:
        async def poll(warm: asyncio.Semaphore) -> None:
            await asyncio.sleep(number / self._n * HEARTBEAT_S)
            worker = Worker(f"idle-{number}", self._study, batches=(), tally=self._tally)
            connection = await self._connect(number)
            warm.release()
            while not self._tally.ended:
                await worker.claim(connection)

        return poll

    def _beat_of(self, number: int) -> Loop:
        async def beat(warm: asyncio.Semaphore) -> None:
            await asyncio.sleep(number / self._n * HEARTBEAT_S)
            connection = await self._connect(number)
            body = b'{"worker":"idle-%d","leases":[],"facts":%s}' % (number, FACTS)
            await connection.post("/api/v1/heartbeats", body)
            warm.release()
            while not self._tally.ended:
                await asyncio.sleep(HEARTBEAT_S)
                await connection.post("/api/v1/heartbeats", body)

        return beat


def main() -> None:
    """Run the load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("urls", nargs="+", help="of the masters; the workers are spread over them")
    parser.add_argument("--style", choices=("single", "batched", "turns", "idle"), default="single")
    parser.add_argument("--study", default="bench")
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    tally = uvloop.run(Fleet(arguments).run(arguments.seconds))
    print(json.dumps({"seconds": arguments.seconds, "trials": tally.trials, "claims_s": tally.claims_s}), flush=True)


if __name__ == "__main__":
    main()

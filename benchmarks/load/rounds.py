"""A round: load for some seconds, with its result and CPU time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.load.meter import Meter
from benchmarks.load.servers import ENVIRONMENT, ROOT

CLIENTS = "clients"


@dataclass(frozen=True)
class Round:
    """The result of a load; `cpu_s` holds the CPU seconds of each role, the clients' included."""

    seconds: float
    trials: float
    claims_s: Sequence[float]
    cpu_s: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Trials per second."""
        return self.trials / self.seconds

    @property
    def cpu_ms(self) -> Mapping[str, float]:
        """CPU milliseconds per trial, by role."""
        return {role: 1e3 * seconds / max(1.0, self.trials) for role, seconds in self.cpu_s.items()}


def drive(module: str, arguments: Sequence[str], *, seconds: float, roots: Mapping[str, list[int]]) -> Round:
    """Run a load generator (`workers` or `optuna_clients`) for a round.

    Args:
        module: its name.
        arguments: its arguments.
        seconds: how long to count.
        roots: process ids whose trees' CPU time is measured, by role.
    """
    command = [sys.executable, "-m", f"benchmarks.load.{module}", *arguments, "--seconds", str(seconds)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT
    ) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        if load.stdout.readline() != "ready\n":
            raise SystemExit(f"the load generator failed: {' '.join(command)}")
        meter = Meter({**roots, CLIENTS: [load.pid]})
        before = meter.read()
        load.stdin.write("go\n")
        load.stdin.flush()
        time.sleep(seconds)
        after = meter.read()
        result = json.loads(load.stdout.readline())
    return Round(cpu_s=after.since(before), **result)


def median_rate(rounds: Sequence[Round]) -> float:
    """Return the median over the rounds, in trials per second."""
    return statistics.median(one.rate for one in rounds)


def quantile(rounds: Sequence[Round], share: float) -> float:
    """Return the quantile of claim times, in seconds."""
    times = sorted(time_s for one in rounds for time_s in one.claims_s)
    return times[min(len(times) - 1, int(share * len(times)))]


def mean_cpu_ms(rounds: Sequence[Round]) -> dict[str, float]:
    """Return the CPU milliseconds per trial over all rounds, by role."""
    n = max(1.0, sum(one.trials for one in rounds))
    return {role: 1e3 * sum(one.cpu_s[role] for one in rounds) / n for role in rounds[0].cpu_s}


def spread(rounds: Sequence[Round]) -> str:
    """Return the slowest and the fastest round, in trials per second."""
    rates = [one.rate for one in rounds]
    return f"{min(rates):.1f} to {max(rates):.1f}"

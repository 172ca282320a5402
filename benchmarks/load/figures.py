"""The rows of the table of figures: measurement and bound of each."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.history import lengthen
from benchmarks.load.meter import rss_mb
from benchmarks.load.rounds import Round, drive, mean_cpu_ms, median_rate, quantile, spread
from benchmarks.load.servers import Master, create_optuna_study, master, optuna_proxy
from tests.postgres import PostgresServer

N_WORKERS = 32
N_IDLE = 1_000
N_HELD = 100_000
FEW_HELD = 100

CORES_FOR_TWO = 6  # two masters, Postgres and the load generator must not wait for each other


@dataclass(frozen=True)
class Plan:
    """The length of a measurement: `rounds` of each method in turn, `seconds` each."""

    rounds: int
    seconds: float
    idle_s: float


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        name: what was measured, with its unit.
        ours: our figure.
        peer: what it is compared with.
        ratio: ours to the peer's, or the share of the bound that is used.
        bound: what the ratio must reach, or must stay under.
        ok: whether it does; None where this machine cannot show it.
        notes: what else was seen.
    """

    name: str
    ours: float
    peer: float
    ratio: float
    bound: str
    ok: bool | None
    notes: Sequence[str] = ()


class Comparison:
    """Our master under load, measured in rounds that alternate with the peer's."""

    def __init__(self, ours: Master, roots: Mapping[str, list[int]]) -> None:
        self._master = ours
        self._roots = roots
        self._studies = 0

    def work(self, style: str, plan: Plan) -> Round:
        """Run one round of our workers on a new study."""
        self._studies += 1
        study = f"bench-{self._studies}"
        self._master.submit(study)
        arguments = [self._master.url, "--style", style, "--study", study, "--workers", str(N_WORKERS)]
        done = drive("workers", arguments, seconds=plan.seconds, roots={"master": [self._master.pid], **self._roots})
        self._master.stop(study)
        return done


def postgres_rows(postgres: PostgresServer, plan: Plan) -> Iterator[Row]:
    """Trials per second and the times of claims on Postgres, beside Optuna's gRPC proxy on the same server."""
    roots = {"Postgres": [postgres.pid]}
    theirs = postgres.new_database().replace("postgresql://", "postgresql+psycopg://")
    with master(postgres.new_database()) as ours, optuna_proxy(theirs) as (place, proxy_pid):
        comparison = Comparison(ours, roots)
        single, batched, peer = [], [], []
        for _ in range(plan.rounds):
            single.append(comparison.work("single", plan))
            batched.append(comparison.work("batched", plan))
            peer.append(drive_optuna(place, plan, roots={"proxy": [proxy_pid], **roots}))
    yield throughput("trials/s on Postgres, each report acknowledged", single, peer=peer, at_least=8)
    yield throughput("trials/s on Postgres, reports batched", batched, peer=peer, at_least=25)
    yield claims_row(single, peer)


def sqlite_row(plan: Plan) -> Row:
    """Trials per second on SQLite with `synchronous=FULL`, beside Optuna's RDB storage on SQLite."""
    with master() as ours, tempfile.TemporaryDirectory() as folder:
        place = f"sqlite:///{Path(folder) / 'optuna.db'}"
        create_optuna_study(place)
        comparison = Comparison(ours, {})
        single, peer = [], []
        for _ in range(plan.rounds):
            single.append(comparison.work("single", plan))
            peer.append(drive_optuna(place, plan, roots={}))
    return throughput("trials/s on SQLite FULL, each report acknowledged", single, peer=peer, at_least=10)


def drive_optuna(place: str, plan: Plan, *, roots: Mapping[str, list[int]]) -> Round:
    """Run one round of Optuna's workers, longer because one of its trials takes seconds."""
    arguments = [place, "--workers", str(N_WORKERS)]
    return drive("optuna_clients", arguments, seconds=2 * plan.seconds, roots=roots)


def throughput(name: str, ours: Sequence[Round], *, peer: Sequence[Round], at_least: float) -> Row:
    """Return the ratio of the medians, with the spread and the CPU time by role."""
    ratio = median_rate(ours) / median_rate(peer)
    notes = [
        f"ours {spread(ours)} trials/s; CPU ms per trial: {shares(ours)}",
        f"Optuna {spread(peer)} trials/s; CPU ms per trial: {shares(peer)}",
        f"CPU per trial, servers and clients together: Optuna takes {_all_cpu(peer) / _all_cpu(ours):.1f} x ours",
    ]
    return Row(name, median_rate(ours), median_rate(peer), ratio, f">= {at_least:g} x", ratio >= at_least, notes)


def claims_row(ours: Sequence[Round], peer: Sequence[Round]) -> Row:
    """Return the 95th percentile of claims beside that of `ask`."""
    mine, theirs = quantile(ours, 0.95), quantile(peer, 0.95)
    note = f"p50: ours {quantile(ours, 0.5) * 1e3:.1f} ms, Optuna {quantile(peer, 0.5) * 1e3:.1f} ms"
    name = f"claim p95 with {N_WORKERS} workers, ms"
    return Row(name, mine * 1e3, theirs * 1e3, mine / theirs, "<= 0.1 x", mine <= theirs / 10, [note])


def all_history_rows(postgres: PostgresServer, folder: Path, *, plan: Plan) -> Iterator[Row]:
    """`history_rows` on both kinds of database."""
    yield from history_rows([postgres.new_database() for _ in range(2)], plan, kind="Postgres")
    yield from history_rows([f"sqlite:///{folder / name}.db" for name in ("few", "many")], plan, kind="SQLite")


def history_rows(urls: Sequence[str], plan: Plan, *, kind: str) -> Iterator[Row]:
    """Compare the time of a claim with many finished trials in the database to that with few; measure the memory.

    Args:
        urls: two empty databases.
        plan: how long.
        kind: what the databases are.
    """
    for url, n_held in zip(urls, (FEW_HELD, N_HELD), strict=True):
        with master(url) as begun:
            begun.submit("bench")
            drive("workers", [begun.url, "--style", "batched", "--workers", "1"], seconds=0.5, roots={})
        lengthen(url, n_held)
    with master(urls[0]) as few, master(urls[1]) as many:
        seconds = plan.rounds * plan.seconds
        done = drive("workers", [few.url, many.url, "--style", "turns"], seconds=seconds, roots={})
        many.look("/", "/studies/bench", "/api/v1/studies", "/api/v1/studies/bench/trials")
        memory_mb = rss_mb(many.pid)
    mine, theirs = (statistics.median(done.claims_s[place::2]) for place in (1, 0))
    note = f"{len(done.claims_s) // 2} claims of each, in turn, one worker"
    name = f"claim p50 on {kind} with {N_HELD:,} finished trials held, against {FEW_HELD}, ms"
    yield Row(name, mine * 1e3, theirs * 1e3, mine / theirs, "<= 1.2 x", mine <= 1.2 * theirs, [note])
    name = f"memory of that master on {kind}, MB"
    yield Row(name, memory_mb, 400.0, memory_mb / 400, "< 400 MB", memory_mb < 400)


def masters_row(postgres: PostgresServer, plan: Plan) -> Row:
    """Compare two masters on one Postgres to one master."""
    cores = os.cpu_count() or 1
    url = postgres.new_database()
    rounds: dict[int, list[Round]] = {1: [], 2: []}
    with ExitStack() as stack:
        masters = [stack.enter_context(master(url)) for _ in range(2)]
        masters[0].submit("bench")
        for _ in range(plan.rounds):
            for n, done in rounds.items():
                used = [one.url for one in masters[:n]]
                roots = {"masters": [one.pid for one in masters], "Postgres": [postgres.pid]}
                arguments = [*used, "--style", "single", "--workers", str(N_WORKERS)]
                done.append(drive("workers", arguments, seconds=plan.seconds, roots=roots))
    ratio = median_rate(rounds[2]) / median_rate(rounds[1])
    notes = [f"{n}: {spread(done)} trials/s; CPU ms per trial: {shares(done)}" for n, done in rounds.items()]
    if cores < CORES_FOR_TWO:
        notes.append(f"{cores} cores for both masters, Postgres and the load: look at the CPU time per trial instead")
    name = "trials/s of two masters on one Postgres, against one"
    ok = ratio >= 1.6 if cores >= CORES_FOR_TWO else None
    return Row(name, median_rate(rounds[2]), median_rate(rounds[1]), ratio, ">= 1.6 x", ok, notes)


def idle_row(postgres: PostgresServer, plan: Plan) -> Row:
    """Return the CPU time of a master with idle workers only."""
    with master(postgres.new_database()) as ours:
        ours.submit("bench")
        ours.stop("bench")
        arguments = [ours.url, "--style", "idle", "--workers", str(N_IDLE)]
        roots = {"master": [ours.pid], "Postgres": [postgres.pid]}
        done = drive("workers", arguments, seconds=plan.idle_s, roots=roots)
        memory_mb = rss_mb(ours.pid)
    cores = {role: cpu_s / done.seconds for role, cpu_s in done.cpu_s.items()}
    note = "cores: " + ", ".join(f"{role} {n:.3f}" for role, n in cores.items()) + f"; {memory_mb:.0f} MB of memory"
    mine = cores["master"]
    name = f"cores that {N_IDLE:,} idle workers cost a master"
    return Row(name, mine, 1 / 3, mine * 3, "< 1/3", mine < 1 / 3, [note])


def shares(rounds: Sequence[Round]) -> str:
    """CPU milliseconds per trial, role by role."""
    spent = mean_cpu_ms(rounds)
    return ", ".join(f"{role} {ms:.2f}" for role, ms in spent.items()) + f", in all {sum(spent.values()):.2f}"


def _all_cpu(rounds: Sequence[Round]) -> float:
    return sum(mean_cpu_ms(rounds).values())

"""Optuna's workers under load: one process each, as on many machines.

One trial is what Optuna's users write: `study.ask` with five parameters, ten `trial.report`, `study.tell`. The random
sampler runs in the worker, and every call goes to the storage: the gRPC proxy, or a database directly.

It speaks as `workers.py` does: `ready`, the line `go`, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import warnings
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier, Event
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage, get_storage

STUDY = "bench"
N_REPORTS = 10
WARM_WITHIN_S = 120.0
SPACE: dict[str, BaseDistribution] = {name: FloatDistribution(0, 1) for name in "abcde"}


def storage_at(place: str) -> BaseStorage:
    """`grpc://host:port`, or the URL of a database."""
    if place.startswith("grpc://"):
        warnings.simplefilter("ignore", ExperimentalWarning)
        host, _, port = place.removeprefix("grpc://").partition(":")
        return GrpcStorageProxy(host=host, port=int(port))
    if place.startswith("sqlite"):
        # With the driver's own 5 s a worker among 32 dies of "database is locked".
        return get_storage(RDBStorage(place, engine_kwargs={"connect_args": {"timeout": 100}}))
    return get_storage(place)


class Worker:
    """A worker that runs trials and records the time of each step, with its share of a trial."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self.steps: list[tuple[float, float]] = []
        self.asks: list[tuple[float, float]] = []
        """The times at which `ask` returned, and its seconds."""

    def run_trial(self) -> None:
        """Run one trial."""
        began = time.perf_counter()
        trial = self._study.ask(SPACE)
        ask_s = time.perf_counter() - began
        self.asks.append((time.time(), ask_s))
        self._step(len(SPACE) + 1)
        for step in range(N_REPORTS):
            trial.report(1 / (step + 1), step)
            self._step(1)
        self._study.tell(trial, 1 / N_REPORTS)
        self._step(1)

    def _step(self, n_calls: int) -> None:
        """Count this many storage calls of a trial."""
        self.steps.append((time.time(), n_calls / (len(SPACE) + N_REPORTS + 2)))


def work(place: str, results: Connection, *, barrier: Barrier, ended: Event) -> None:
    """Run one worker: one trial to warm up, then as many as fit."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler()
    worker = Worker(optuna.load_study(study_name=STUDY, storage=storage_at(place), sampler=sampler))
    worker.run_trial()
    barrier.wait(WARM_WITHIN_S)
    barrier.wait(WARM_WITHIN_S)
    while not ended.is_set():
        worker.run_trial()
    results.send((worker.steps, worker.asks))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all workers, and count the trials that finish in time."""
    spawning = multiprocessing.get_context("forkserver")
    spawning.set_forkserver_preload(["optuna", "grpc", "optuna.storages._grpc.client", "sqlalchemy"])
    barrier, ended = spawning.Barrier(arguments.workers + 1), spawning.Event()
    pipes = [spawning.Pipe(duplex=False) for _ in range(arguments.workers)]
    processes = [
        spawning.Process(target=work, args=(arguments.place, sending), kwargs={"barrier": barrier, "ended": ended})
        for _, sending in pipes
    ]
    for process in processes:
        process.start()
    for _, sending in pipes:
        sending.close()  # a worker that dies is noticed
    barrier.wait(WARM_WITHIN_S)
    print("ready", flush=True)
    sys.stdin.readline()
    barrier.wait()
    began = time.time()
    time.sleep(arguments.seconds)
    end = time.time()
    ended.set()
    results = [receiving.recv() for receiving, _ in pipes]
    for process in processes:
        process.join()
    trials = sum(share for steps, _ in results for at, share in steps if began <= at <= end)
    asks = [ask_s for _, asks in results for at, ask_s in asks if began <= at <= end]
    return {"seconds": end - began, "trials": trials, "claims_s": asks}


def main() -> None:
    """Run the load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", help="grpc://host:port, or the URL of a database")
    parser.add_argument("--create", action="store_true", help="create the study and stop")
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    if arguments.create:
        optuna.create_study(study_name=STUDY, storage=storage_at(arguments.place))
        return
    print(json.dumps(measure(arguments)), flush=True)


if __name__ == "__main__":
    main()

"""One trial in a process of its own: the main function of a training process.

It uses no network; all records go to its spool.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from numbers import Real
from pathlib import Path
from typing import Any

from tunefleet.data.seal import seal_test_part
from tunefleet.failpoints import failpoint
from tunefleet.protocol import CompleteRequest, Lease, PreflightOrder
from tunefleet.study.spec import CommandRun, TaskRun
from tunefleet.trial.seeding import seed_everything
from tunefleet.trial.trial import TrialStopped
from tunefleet_worker.attempt_folder import AttemptFolder
from tunefleet_worker.commands import run_command
from tunefleet_worker.context import WorkerTrial
from tunefleet_worker.failures import end_of_exception, end_of_program
from tunefleet_worker.job import Job
from tunefleet_worker.loader import check_signature, enter_folder, load_function
from tunefleet_worker.orders import OrderReceiver
from tunefleet_worker.spool import End, SpoolWriter
from tunefleet_worker.tasks.registry import load_task
from tunefleet_worker.trial_process import detach, export_credentials, send_output, use_devices


def main(job: Job, log: Connection, *, orders: Connection) -> None:
    """Run the trial, record its end, and exit at once; the agent kills descendants that still run."""
    attempt_folder = AttemptFolder(job.folder)
    detach(attempt_folder.life)
    send_output(log)
    device = use_devices(job.gpus, job.threads)
    lease = Lease.model_validate_json(job.lease_json)
    export_credentials(lease, job.url)
    seal_test_part()
    spool, receiver = SpoolWriter(attempt_folder.spool), OrderReceiver(orders)
    trial = WorkerTrial(
        lease,
        attempt_folder,
        spool=spool,
        orders=receiver,
        device=device,
        checkpoint_every_s=job.checkpoint_every_s,
    )
    end = _attempt(trial, lease, job.code)
    failpoint("child.before_end")
    attempt_folder.free_reserve()
    spool.append(end)
    failpoint("child.after_end")
    receiver.notify()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _attempt(trial: WorkerTrial, lease: Lease, code: Path | None) -> End:
    """Run the trial and return its end; raises nothing."""
    try:
        try:
            end = _run(trial, lease, code)
        except TrialStopped:
            end = End.complete()
        if end.outcome == "complete":
            trial.finish()
        return End.released("preempted") if trial.is_drained else end
    except BaseException as error:
        _print_traceback(error)
        trial.abort()
        return end_of_exception(error, code)


def _run(trial: WorkerTrial, lease: Lease, code: Path | None) -> End:
    seed_everything(lease.seed)
    os.chdir(code or trial.folder)
    run = lease.run
    if isinstance(run, CommandRun):
        return end_of_program(run_command(run.command, trial, check=trial.check))
    if code is not None:
        enter_folder(code)
    imported = _generators()
    function = load_task(run.task) if isinstance(run, TaskRun) else load_function(run.function, code)
    if _generators() != imported:  # the function's module has imported a library with an unseeded generator
        seed_everything(lease.seed)
    name = run.task if isinstance(run, TaskRun) else run.function
    if lease.preflight is not None:
        return _preflight(function, trial, lease, lease.preflight)
    check_signature(function, lease.params, target=name)
    metrics = _final_metrics(function(trial, **lease.params))
    return End.complete(CompleteRequest.parse({"attempt": lease.attempt, "metrics": metrics}, field="returned").metrics)


def _preflight(function: Callable[..., object], trial: WorkerTrial, lease: Lease, order: PreflightOrder) -> End:
    from tunefleet_worker.preflight.inspection import Inspection  # imports torch

    for tries in order.branches:
        check_signature(function, tries[0], target=getattr(function, "__name__", "the function"))
    inspection = Inspection(function, lease, order, folder=trial.folder, device=trial.device, check=trial.check)
    return End.inspected(inspection.report().model_dump(mode="json"))


def _generators() -> set[str]:
    """Return the imported libraries that have a global generator."""
    return {"numpy", "torch"} & sys.modules.keys()


def _final_metrics(returned: object) -> Mapping[str, float]:
    """Return the metrics that a function returned; empty unless it returned a mapping of numbers."""
    if not isinstance(returned, Mapping):
        return {}
    numbers: dict[str, Any] = {str(name): value for name, value in returned.items() if isinstance(value, Real)}
    return {name: float(value) for name, value in numbers.items()} if len(numbers) == len(returned) else {}


def _print_traceback(error: BaseException) -> None:
    """Print the traceback to the log, without the frames of this module."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__ and trace.tb_next is not None:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)
    sys.stderr.flush()

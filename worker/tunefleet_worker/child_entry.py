"""The first function of a training process; the agent imports it without importing what the process needs."""

from __future__ import annotations

from multiprocessing.connection import Connection

from tunefleet_worker.job import Job


def run_job(job: Job, log: Connection, *, orders: Connection) -> None:
    """Run the job. Does not return."""
    from tunefleet_worker.child import main

    main(job, log, orders=orders)

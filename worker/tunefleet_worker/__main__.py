"""Run a worker with `python -m tunefleet_worker`."""

from tunefleet_worker.cli import run

if __name__ == "__main__":
    run()

"""Run a worker with `python -m tunefleet_worker`."""

"""Run the master with `python -m tunefleet_master`."""

from tunefleet_master.cli import run

run()

"""Run the command line with `python -m tunefleet`."""

from tunefleet.cli.main import run

run()

"""Run the master with `python -m tunefleet_master`."""

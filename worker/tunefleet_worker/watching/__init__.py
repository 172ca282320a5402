"""What `trial.watch` does: see how a training goes inside, at a cost of under 2 % of its time."""

from tunefleet_worker.watching.watch import Watch as Watch

"""The watch of `trial.watch`: measurements inside a training, for less than 2 % of its time."""

from tunefleet_worker.watching.watch import Watch as Watch

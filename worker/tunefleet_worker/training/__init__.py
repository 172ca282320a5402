"""The training toolbox of the built-in tasks, also for users' own functions."""

"""The commands of `tunefleet-master` that do not serve."""

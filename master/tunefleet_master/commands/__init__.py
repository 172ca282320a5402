"""Commands of `tunefleet-master` other than `serve`."""

"""The `tunefleet` command. Modules import large packages inside functions, so that `--help` is fast."""

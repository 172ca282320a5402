"""The `tunefleet` command; nothing heavy is imported before a command needs it, so that `--help` answers at once."""

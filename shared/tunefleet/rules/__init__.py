"""Rules about what may go with what in a study; `rules.review` is the entry point."""

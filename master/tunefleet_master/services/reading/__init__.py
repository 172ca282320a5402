"""Studies, trials, fronts, events and workers as users read them. Read-only."""

"""Whether a study's training function can learn at all, before a budget is spent on it."""

"""The preflight: a check that a study's training function can learn at all, before it costs budget."""

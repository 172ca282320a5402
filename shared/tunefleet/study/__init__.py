"""The grammar of a study, and what follows from it."""

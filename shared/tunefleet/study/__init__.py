"""The grammar of a study: what a user writes, and what follows from it."""

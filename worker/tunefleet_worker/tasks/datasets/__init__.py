"""The built-in data sets; `parts` divides them, and is the only way to their samples."""

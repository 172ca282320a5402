"""The built-in data sets. `parts` divides them; nothing else reads their samples."""

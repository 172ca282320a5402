"""The Python client of a master, and everything that speaks HTTP."""

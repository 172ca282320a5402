"""The Python client of a master, with all code that sends HTTP requests."""

"""Pictures drawn from plain data with the standard library alone."""

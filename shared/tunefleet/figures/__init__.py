"""Pictures computed from plain data, drawn with the standard library alone."""

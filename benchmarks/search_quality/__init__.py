"""The parts of `benchmarks/search.py`: tasks, methods, runs and the table."""

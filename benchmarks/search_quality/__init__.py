"""What `benchmarks/search.py` is made of: tasks, methods, runs and the table."""

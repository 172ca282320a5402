"""What `benchmarks/search.py` is made of: tasks, contestants, runs and the table."""

"""What `benchmarks/serving.py` is made of: servers under load, the load itself, and the figures."""

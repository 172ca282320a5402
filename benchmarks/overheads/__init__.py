"""What benchmarks/overhead.py measures inside a training."""

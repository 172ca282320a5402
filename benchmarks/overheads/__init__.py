"""Measurements of benchmarks/overhead.py inside a training."""

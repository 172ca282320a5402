"""The parts of `benchmarks/serving.py`: servers under load, load generators and figures."""

"""Trainings whose illness is known, for the doctor to be judged by: `benchmarks/clinic.py`."""

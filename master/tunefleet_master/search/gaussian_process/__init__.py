"""Gaussian processes over search spaces: the model, its fit, acquisition functions and their optimizer.

Functions import scipy lazily. The import takes a second and 60 MB, which a master does not need at its start: its
samplers run in another process.
"""

"""Gaussian processes over search spaces: their fit, what is proposed from them, and how it is found."""

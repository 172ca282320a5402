"""Gaussian processes over search spaces: their fit, what is proposed from them, and how it is found.

Functions import what they need of scipy by themselves: it takes a second and 60 MB, which a master that starts, and
whose samplers think in another process, need not spend.
"""

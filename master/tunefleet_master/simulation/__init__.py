"""Simulation: a fleet in virtual time that shows what a study would have found with other settings.

Pure, like search.
"""

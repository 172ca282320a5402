"""What the master does.

Functions that take a unit of work and give protocol messages, and the loops in the background.
"""

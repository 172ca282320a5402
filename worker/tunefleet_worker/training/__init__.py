"""The training toolbox: what the built-in tasks train with, and what a user's own function may use."""

"""Tunefleet: what the master, the workers and a user's own code all import."""

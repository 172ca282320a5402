"""Checking what is stored against what must hold."""

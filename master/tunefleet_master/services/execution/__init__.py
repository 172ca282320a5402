"""Execution of trials: claims, leases, reports, completion, and transitions."""

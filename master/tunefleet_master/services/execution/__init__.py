"""Running trials: claims, leases, reports, ends, and what they lead to."""

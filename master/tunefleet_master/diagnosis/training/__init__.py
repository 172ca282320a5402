"""Findings on the curves of one trial. Pure: no database, no network, no clock."""

"""Samplers: the proposal of configurations. Pure: no database, no network, no clock."""

"""Pruners: the early stopping of trials. Pure: no database, no network, no clock."""

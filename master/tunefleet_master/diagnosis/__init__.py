"""Diagnosis: findings on studies and their trials. Pure: no database, no network, no clock."""

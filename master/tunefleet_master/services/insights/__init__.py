"""Insights into studies and trials: findings, importance, predictions, telemetry."""

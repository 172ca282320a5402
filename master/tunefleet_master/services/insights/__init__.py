"""Reading what a study shows: findings, importance, fronts, predictions, telemetry."""

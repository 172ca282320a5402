"""Analysis of a trained model: its predictions on held-out samples, the same in every trial of a study.

In your training function, after the last epoch:

>>> from tunefleet_worker.model_analysis.predictions import keep_predictions
>>> from tunefleet_worker.model_analysis.held_out import HeldOutSamples
>>> keep_predictions(trial, model, held_out=HeldOutSamples(ids, labels, inputs=inputs), classes=["cat", "dog"])

For models that are not torch's, `write_predictions` takes probabilities. Never pass samples of the test part.
"""

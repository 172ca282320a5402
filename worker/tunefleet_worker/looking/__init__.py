"""Analysis of a trained model: its predictions on held-out samples, the same in every trial of a study.

In your training function, after the last epoch:

>>> from tunefleet_worker.looking.predictions import keep_predictions
>>> from tunefleet_worker.looking.probe import Probe
>>> keep_predictions(trial, model, held_out=Probe(ids, labels, inputs=inputs), classes=["cat", "dog"])

For models that are not torch's, `write_predictions` takes probabilities. Never pass samples of the test part.
"""

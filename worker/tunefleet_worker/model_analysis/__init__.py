"""Looking at what a model gets right and wrong: the same held-out samples in every trial of a study.

In a training function of one's own, after the last epoch:

>>> from tunefleet_worker.model_analysis.predictions import keep_predictions
>>> from tunefleet_worker.model_analysis.held_out import HeldOutSamples
>>> keep_predictions(trial, model, held_out=HeldOutSamples(ids, labels, inputs=inputs), classes=["cat", "dog"])

For models that are not torch's, `write_predictions` takes probabilities. Never give it samples of the test part.
"""

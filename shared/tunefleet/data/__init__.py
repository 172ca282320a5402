"""Splits of data, and audits of splits, with numpy alone.

Built-in tasks use these functions; a user's function or a notebook can call them too. Labels, groups and times are
one-dimensional, with one value for each sample. Results are positions of samples.

>>> from tunefleet.data.folds import fold_indices
>>> for train, validation in fold_indices(labels, folds=5, seed=trial.data.seed):
...     fit(x[train], y[train]); score(x[validation], y[validation])
"""

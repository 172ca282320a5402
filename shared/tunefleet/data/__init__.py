"""Data done right, with numpy alone: which samples go where, and what is wrong with where they went.

What a built-in task does by itself, for a user's own function and for a notebook. Labels, groups and times are
anything that numpy makes a one-dimensional array of, one value for each sample; what comes back are positions.

>>> from tunefleet.data.folds import fold_indices
>>> for train, validation in fold_indices(labels, folds=5, seed=trial.data.seed):
...     fit(x[train], y[train]); score(x[validation], y[validation])
"""

"""The audit of the split of a built-in task's data."""

from __future__ import annotations

import numpy as np
import torch

from tunefleet.data.audit import audit_split
from tunefleet.data.folds import fold_indices
from tunefleet.errors import InvalidInput, Problem
from tunefleet.protocol.findings import FindingView
from tunefleet.study.spec import Split, StudySpec, TaskRun
from tunefleet_worker.tasks.datasets.parts import DataChoice, load_training_parts


def audit_study(spec: StudySpec, *, accuracy: float = 0.9) -> list[FindingView]:
    """Return findings on the study's training and validation parts, the gravest first. The test part stays sealed.

    Raises:
        InvalidInput: the study runs the user's code, and only that code knows its data.
        DataUnavailable: the data set is not available on this machine.
        SplitError: the data set is too small for the split.
    """
    if not isinstance(spec.run, TaskRun):
        rule = "is code of your own, whose data only it knows; call tunefleet.data.audit.audit_split there"
        raise InvalidInput([Problem("run", rule)])
    options = {key: spec.run.options.get(key) for key in ("dataset", "folder")}
    folds = spec.data.folds
    data = spec.data if folds == 1 else spec.data.model_copy(update={"split": Split(), "subset": 1.0, "folds": 1})
    loaded = load_training_parts(DataChoice.parse({**options, "spec": data}, field="run"))
    inputs = torch.cat([loaded.train.inputs, loaded.validation.inputs]).numpy()
    labels = torch.cat([loaded.train.labels, loaded.validation.labels]).numpy()
    train, validation = np.split(np.arange(len(labels)), [len(loaded.train)])
    if folds > 1:
        train, validation = fold_indices(labels, folds=folds, seed=data.seed, stratify=data.stratify)[0]
    named = np.array(loaded.classes)[labels]
    return audit_split(inputs, named, parts={"train": train, "validation": validation}, folds=folds, accuracy=accuracy)

"""A cross-validation whose folds are trained on several workers, one of which dies in the middle of a fold."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np
import psutil
import pytest

from tunefleet.data.folds import fold_indices
from tunefleet.protocol import StudyState, TrialState

FOLDS, CONFIGURATIONS, SEED = 5, 4, 3

# The sleep stands for training: a fold is still running when its worker is killed. The process names itself.
WINE = """
import os, time

from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

def train(trial, c):
    trial.report(pid=os.getpid())
    time.sleep(0.5)
    x, y = load_wine(return_X_y=True)
    train, validation = trial.split(y)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
    trial.report(accuracy=model.fit(x[train], y[train]).score(x[validation], y[validation]))
"""


def in_a_fold(study: Any, *, worker: str) -> Any:
    """A trial that the worker trains, and whose process is known, as its details; None when there is none."""
    running = (it for it in study.trials(state=TrialState.RUNNING) if it.worker == worker)
    found = next((study.trial(trial.number) for trial in running), None)
    return found if found is not None and found.curve else None


@pytest.mark.timeout(900)
def test_five_folds_of_wine_on_three_workers_one_killed_equal_scikit_learns_cross_validation(fleet: Any) -> None:
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    for i in range(3):
        fleet.start_worker(f"w{i}", "--no-preload")  # scikit-learn is all that it needs
    study = fleet.submit(
        WINE,
        objective={"metric": "accuracy", "goal": "maximize"},
        space={"c": {"log": [1e-4, 1e2]}},
        data={"folds": FOLDS, "seed": SEED, "race": False},
        budget={"trials": CONFIGURATIONS},
    )
    interrupted = fleet.wait(lambda: in_a_fold(study, worker="w0"), "w0 trains a fold", timeout_s=300)
    fleet.kill("w0")
    child = int(interrupted.curve[-1].metrics["pid"])
    fleet.wait(lambda: not psutil.pid_exists(child), "the child follows its agent")
    fleet.wait(lambda: study.view().state is StudyState.COMPLETE, "the study is complete", timeout_s=300)

    view = study.view()
    assert view.trials == {TrialState.COMPLETE: CONFIGURATIONS * FOLDS}
    again = study.trial(interrupted.number)
    assert (again.attempt, again.fold) == (2, interrupted.fold)
    assert again.worker in ("w1", "w2")

    x, y = load_wine(return_X_y=True)
    splits = fold_indices(y, folds=FOLDS, seed=SEED)
    found = study.configurations()
    assert sorted(each.number for each in found) == list(range(CONFIGURATIONS))
    for each in found:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=float(str(each.params["c"])), max_iter=1000))
        scores = cross_val_score(model, x, y, cv=splits)
        assert [fold.value for fold in each.folds] == pytest.approx(list(scores), abs=1e-12)
        assert each.value == pytest.approx(scores.mean(), abs=1e-12)
        assert each.standard_error == pytest.approx(np.std(scores, ddof=1) / np.sqrt(FOLDS), abs=1e-12)
    assert any(len({fold.worker for fold in each.folds}) > 1 for each in found)
    assert view.best is not None
    assert view.best.value == max(fmean(fold.value or 0.0 for fold in each.folds) for each in found)

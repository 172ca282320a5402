"""A worker that was told not to import torch runs trials without it at once, and others as every worker does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.fleet import Fleet, WarmFleet

from tunefleet import Study
from tunefleet.protocol import StudyState

DRAWS = """
import sys

def train(trial, x):
    trial.report(step=0, loss=x, torch="torch" in sys.modules)
    import torch
    trial.report(step=1, loss=x, torch="torch" in sys.modules)
"""

# torch comes with the module, so that its generator is first seen after the trial was seeded.
SEEDED = """
import torch

def train(trial, x):
    trial.report(loss=x, drawn=float(torch.rand(1)))
"""


def is_complete(study: Study) -> bool:
    return study.view().state is StudyState.COMPLETE


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A master that runs."""
    fleet = WarmFleet(tmp_path)
    try:
        fleet.start_master()
        yield fleet
    finally:
        fleet.close()


def test_torch_is_imported_by_the_trial_that_needs_it_and_not_before(fleet: Fleet) -> None:
    fleet.start_worker("lean", "--no-preload")
    study = fleet.submit(DRAWS)
    fleet.wait(partial(is_complete, study), "the trial is complete")
    assert [point.metrics["torch"] for point in study.trial(0).curve] == [0, 1]


def test_a_trial_draws_the_same_numbers_with_and_without_the_preload(fleet: Fleet) -> None:
    drawn = []
    for name, option in (("lean", "--no-preload"), ("full", "--preload")):
        study = fleet.submit(SEEDED, name=name)
        fleet.start_worker(name, option)
        fleet.wait(partial(is_complete, study), "the trial is complete")
        assert fleet.stop(name) == 0
        drawn.append(study.trial(0).curve[-1].metrics["drawn"])
    assert drawn[0] == drawn[1]

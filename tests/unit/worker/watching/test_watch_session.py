"""The implementation of the watch is found by its entry point."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import pytest
import torch

from tunefleet.errors import InvalidInput
from tunefleet.trial.watch import GROUP, NAME, WatchSession
from tunefleet_worker.watching import Watch


@pytest.fixture
def begin():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return lambda: WatchSession().begin(model, [optimizer], scaler=None)


def test_entry_point_names_the_watch_of_the_worker():
    [found] = entry_points(group=GROUP, name=NAME)
    assert found.load() is Watch


def test_missing_entry_point_is_an_error_that_says_how_to_install_it(begin, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(InvalidInput, match=r"needs an entry point 'torch' .*`pip install 'tunefleet\[worker\]'"):
        begin()


def test_missing_package_is_an_error_that_names_it(begin, monkeypatch):
    monkeypatch.setitem(sys.modules, "tunefleet_worker.watching", None)
    with pytest.raises(InvalidInput, match=r"needs tunefleet_worker\.watching, which is not installed"):
        begin()

"""A study that starts from recipes: they run first, from its budget, and it can be replayed."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet_master.services.audit.replay import replay
from tunefleet_master.services.reading import trials
from tunefleet_master.storage import studies as stored
from tunefleet_master.storage.trial_pages import TrialQuery

SPACE = {"lr": {"log": [1e-4, 1.0]}, "optimizer": ["sgd", "adam"], "x": {"float": [0, 1]}}
SGD = {"lr": 0.1, "optimizer": "sgd", "x": 0.5}
ADAM = {"lr": 3e-4, "optimizer": "adam", "x": 0.5}


def submit(master: Any, **changes: Any) -> None:
    search = {"sampler": "tpe", "start_from": ["resnet-imagenet", "karpathy"]}
    master.submit(**{"space": SPACE, "search": search, "budget": {"trials": 6}, **changes})


def run_to_its_end(master: Any) -> list[Any]:
    while leases := _claim(master) or _claim(master):
        for lease in leases:
            master.complete(lease, loss=float(lease.params["x"]))
    items = master.read(lambda uow: trials.page(uow, "study", TrialQuery(limit=100))).items
    return sorted(items, key=lambda trial: trial.number)


def _claim(master: Any) -> Any:
    """Claim; a learning sampler proposes after a claim has found nothing."""
    leases = master.claim(slots=2, study="study")
    master.plan()
    return leases


def test_recipes_run_first_and_are_named_as_the_origin(master: Any) -> None:
    submit(master)
    leases = master.claim(slots=2, study="study")
    assert [lease.params for lease in leases] == [SGD, ADAM]
    page = master.read(lambda uow: trials.page(uow, "study", TrialQuery(limit=100))).items
    assert [trial.origin for trial in page] == ["recipe resnet-imagenet", "recipe karpathy"]


@pytest.mark.parametrize("sampler", ["random", "tpe", "sobol"])
def test_recipes_count_against_the_budget_and_the_study_is_reproducible(master: Any, sampler: str) -> None:
    submit(master, search={"sampler": sampler, "start_from": ["resnet-imagenet", "karpathy"]})
    found = run_to_its_end(master)
    assert [trial.params for trial in found[:2]] == [SGD, ADAM]
    assert len(found) == 6
    study = master.read(lambda uow: stored.get(uow.connection, "study"))
    again = master.read(lambda uow: replay(uow, study))
    assert (again.n_same, again.n_by_hand, list(again.differing)) == (4, 2, [])


def test_recipes_and_the_best_of_an_earlier_study_are_tried_side_by_side(master: Any) -> None:
    master.submit(name="earlier", space=SPACE, budget={"trials": 3}, search={"sampler": "random"})
    master.plan()
    for lease in master.claim(slots=3, study="earlier"):
        master.complete(lease, loss=float(lease.params["x"]))
    submit(master, warm_start=["earlier"], budget={"trials": 10})
    found = run_to_its_end(master)
    assert [trial.origin for trial in found[:4]] == ["recipe resnet-imagenet", "recipe karpathy", "warm_start", "tpe"]
    assert len(found) == 10

"""Starting from earlier studies: what is learnt from them, what is tried first, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tunefleet.errors import InvalidInput
from tunefleet.protocol import FailRequest, Failure, Lease
from tunefleet_master.search.observations import collect_observations
from tunefleet_master.services.audit.replay import replay
from tunefleet_master.services.planning import histories, pending_work, study_control
from tunefleet_master.services.reading import trials
from tunefleet_master.storage import studies as stored
from tunefleet_master.storage.trial_pages import TrialQuery


def finished(master: Any, name: str = "earlier", *, n: int = 10, **changes: Any) -> None:
    """Run a study: the best trial has the smallest x, and one trial diverges."""
    master.submit(name=name, budget={"trials": n + 1}, search={"sampler": "random", "seed": 5}, **changes)
    leases: list[Lease] = []
    while len(leases) <= n:
        master.plan()
        leases += master.claim(slots=64, study=name)
    for lease in leases[:-1]:
        master.complete(lease, loss=float(str(lease.params["x"])))
    last = leases[-1]
    master.end(last.trial_id, FailRequest(attempt=last.attempt, failure=Failure.DIVERGED, message="NaN"))


def submit(master: Any, **changes: Any) -> None:
    master.submit(**{"search": {"sampler": "tpe"}, "budget": {"trials": 20}, "warm_start": ["earlier"], **changes})


def configurations(master: Any, name: str) -> list[dict[str, Any]]:
    items = master.read(lambda uow: trials.page(uow, name, TrialQuery(limit=100))).items
    return [trial.params for trial in sorted(items, key=lambda trial: trial.number)]


def known(master: Any) -> Any:
    return master.read(
        lambda uow: collect_observations(histories.fold(uow.connection, stored.get(uow.connection, "study")))
    )


def test_the_best_configuration_of_the_earlier_study_is_tried_first(master: Any) -> None:
    finished(master)
    submit(master)
    [lease] = master.claim(study="study")
    best = min(configurations(master, "earlier")[:10], key=lambda params: params["x"])
    assert lease.params == best
    page = master.read(lambda uow: trials.page(uow, "study", TrialQuery(limit=100))).items
    assert {trial.origin for trial in page if trial.number == 0} == {"warm_start"}


def test_earlier_trials_count_by_rank_and_diverged_ones_as_infeasible(master: Any) -> None:
    finished(master)
    submit(master)
    found = known(master)
    assert found.are_ranks
    assert (len(found.scores), len(found.infeasible)) == (10, 1)
    assert np.all(np.diff(found.points[np.argsort(found.scores), 0]) > 0)


def test_trials_outside_the_new_space_are_skipped_and_new_parameters_take_their_middle(master: Any) -> None:
    finished(master)
    submit(master, space={"x": {"float": [0, 0.5]}, "y": {"float": [0, 8]}})
    found = known(master)
    assert 1 <= len(found.scores) < 10
    assert set(found.points[:, 1]) == {0.5}
    [lease] = master.claim(study="study")
    assert lease.params["y"] == 4


def test_several_studies_count_each_by_its_own_ranks(master: Any) -> None:
    finished(master)
    finished(master, "older", n=4)
    submit(master, warm_start=["earlier", "older"])
    scores = known(master).scores
    assert abs(scores[:10].mean()) < 1e-9
    assert abs(scores[10:].mean()) < 1e-9


def test_a_large_study_contributes_its_best_trials_and_others_of_all_ranks(master: Any) -> None:
    finished(master, n=240, space={"x": {"float": [0, 1]}})
    submit(master, space={"x": {"float": [0, 1]}})
    xs = np.sort(known(master).points[:, 0])
    assert len(xs) == 200
    assert xs[99] < 0.5
    assert xs[-1] > 0.95


def test_proposals_are_reproducible_after_the_earlier_study_was_deleted(master: Any) -> None:
    finished(master)
    submit(master)
    for lease in master.claim(study="study", slots=5):
        master.complete(lease, loss=1.0)
    master.call(study_control.delete, "earlier")
    found = master.read(lambda uow: replay(uow, stored.get(uow.connection, "study")))
    assert (list(found.differing), found.n_by_hand) == ([], 1)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"warm_start": ["nobody"]}, "there is no study 'nobody'"),
        (
            {"objective": {"metric": "loss", "goal": "maximize"}},
            "would minimize loss, and this one would maximize loss",
        ),
        (
            {"objective": {"metric": "error", "goal": "minimize"}},
            "would minimize loss, and this one would minimize error",
        ),
        ({"space": {"z": {"float": [0, 1]}}}, "study 'earlier' shares no parameter with this one; it has x, kind"),
        ({"space": {"x": {"float": [5, 6]}}}, "no complete trial of study 'earlier' lies in the space"),
        ({"search": {"sampler": "random"}}, "is for samplers that learn, but the sampler is random"),
    ],
)
def test_a_useless_warm_start_is_refused_and_nothing_is_stored(master: Any, changes: dict[str, Any], rule: str) -> None:
    finished(master)
    with pytest.raises(InvalidInput, match=rule):
        submit(master, **changes)
    assert master.read(lambda uow: stored.find(uow.connection, "study")) is None


def test_a_warm_start_needs_a_complete_trial(master: Any) -> None:
    master.submit(name="earlier")
    with pytest.raises(InvalidInput, match="no complete trial of study 'earlier'"):
        submit(master)


def test_the_queue_is_planned_after_the_first_configurations(master: Any) -> None:
    finished(master)
    submit(master, budget={"trials": 1})
    assert len(configurations(master, "study")) == 1
    assert master.read(pending_work.needs) == []

"""A history process answers, gets updates, evicts, fails, hangs and dies."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from tests.unit.master.diagnosis.study_views import spec_of

from tunefleet.errors import TunefleetError
from tunefleet_master.search.history import Change, History, Outcome
from tunefleet_master.services.planning.history_process import (
    MAX_STUDIES,
    Begin,
    HistoryProcess,
    RequestHandler,
    Update,
)

SPEC = spec_of({"x": {"float": [0, 1]}})


class CountFailed(TunefleetError):
    """The count failed."""

    code = "count_failed"


class Counting(RequestHandler):
    """Answers a study id with the number of its trials, and a text with what the text names."""

    def answer(self, request: object) -> object:
        match request:
            case "hang":
                time.sleep(60)
            case "die":
                os._exit(1)
            case "studies":
                return len(self.histories)
        assert isinstance(request, int)
        return self.histories[request].n


@pytest.fixture
def process() -> Iterator[HistoryProcess]:
    made = HistoryProcess(Counting, name="counting", role="The count", error=CountFailed, time_limit_s=20)
    yield made
    made.close()


def begin(process: HistoryProcess, study_id: int) -> None:
    process.begin(Begin(study_id, "random", SPEC, History(SPEC.search_space)))


def update(process: HistoryProcess, study_id: int, n: int, *, up_to: int) -> None:
    changes = [Change(i, Outcome.COMPLETE, params={"x": i / 10}, values=(1.0,)) for i in range(n)]
    process.update(Update(study_id, changes), up_to=up_to)


def test_it_holds_the_changes_that_it_was_sent(process: HistoryProcess) -> None:
    assert process.seen(1) == 0
    begin(process, 1)
    update(process, 1, 3, up_to=12)
    assert process.seen(1) == 12
    assert process.call(1) == 3


def test_an_error_carries_its_traceback_and_the_process_stays_alive(process: HistoryProcess) -> None:
    begin(process, 1)
    update(process, 1, 3, up_to=12)
    with pytest.raises(CountFailed, match="The count failed: KeyError: 2") as failed:
        process.call(2)
    assert "in answer" in (failed.value.hint or "")
    assert process.call(1) == 3


def test_a_process_that_dies_is_started_again_without_histories(process: HistoryProcess) -> None:
    begin(process, 1)
    update(process, 1, 3, up_to=12)
    with pytest.raises(CountFailed, match="The count's process has died"):
        process.call("die")
    assert process.seen(1) == 0
    begin(process, 1)
    update(process, 1, 2, up_to=8)
    assert process.call(1) == 2


def test_a_process_that_exceeds_its_time_limit_is_killed() -> None:
    process = HistoryProcess(Counting, name="counting", role="The count", error=CountFailed, time_limit_s=20)
    begin(process, 1)
    update(process, 1, 1, up_to=3)
    process.time_limit_s = 0.2
    with pytest.raises(CountFailed, match=r"The count took longer than 0\.2 s"):
        process.call("hang")
    assert process.seen(1) == 0


def test_the_least_recently_updated_study_is_evicted(process: HistoryProcess) -> None:
    for study_id in range(1, MAX_STUDIES + 1):
        begin(process, study_id)
        update(process, study_id, 1, up_to=study_id)
    update(process, 1, 2, up_to=1_000)
    begin(process, 500)
    update(process, 500, 1, up_to=1_001)
    assert process.call("studies") == MAX_STUDIES
    assert (process.seen(1), process.seen(2)) == (1_000, 0)


def test_a_stopped_process_is_not_started_again(process: HistoryProcess) -> None:
    begin(process, 1)
    process.stop()
    with pytest.raises(CountFailed, match="The count's process was stopped"):
        begin(process, 1)

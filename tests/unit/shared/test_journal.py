"""The journal: every acknowledged write, and no other call."""

from __future__ import annotations

import json
import threading

import httpx
import pytest
from tests.journaled import journaled

from tunefleet.client.journal import VARIABLE, Journal, entries
from tunefleet.client.transport import Transport
from tunefleet.errors import InvalidInput, LeaseLost, MasterUnreachable
from tunefleet.protocol import CompleteRequest, Directive, EndResponse, Report, ReportBatch, TrialDetail

URL = "http://master.test:8765"
GO_ON = {"directive": "continue", "reason": None, "message": ""}
BATCH = ReportBatch(attempt=3, reports=[Report(step=1, metrics={"loss": 0.5}, number=2)])


def transport(answers, *, journal=None) -> Transport:
    wire = httpx.MockTransport(answers)
    if journal is None:
        return Transport(URL, retry_for_s=0, wire=wire)
    return journaled(URL, journal, retry_for_s=0, wire=wire)


def test_an_acknowledged_write_is_a_line_with_request_and_answer(tmp_path):
    file = tmp_path / "journal"
    transport(lambda request: httpx.Response(200, json=GO_ON), journal=file).post(
        "/trials/7/reports", BATCH, answer=Directive
    )
    [entry] = entries(file)
    assert (entry.method, entry.path) == ("POST", "/trials/7/reports")
    assert entry.request == {"attempt": 3, "reports": [{"step": 1, "metrics": {"loss": 0.5}, "number": 2}]}
    assert entry.answer == GO_ON
    assert entry.sent_s <= entry.answered_s


def test_reads_refusals_and_lost_answers_are_not_recorded(tmp_path):
    file = tmp_path / "journal"
    problem = {"type": "x", "title": "x", "status": 409, "detail": "gone", "code": "lease_lost"}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404)
        if "complete" in request.url.path:
            return httpx.Response(409, json=problem, headers={"content-type": "application/problem+json"})
        raise httpx.ReadError("cut")

    way = transport(answer, journal=file)
    with pytest.raises(LeaseLost):
        way.post("/trials/7/complete", CompleteRequest(attempt=3), answer=EndResponse)
    with pytest.raises(MasterUnreachable):
        way.post("/trials/7/reports", BATCH, answer=Directive)
    with pytest.raises(Exception, match="404"):
        way.get("/trials/7", TrialDetail)
    assert list(entries(file)) == []


def test_the_variable_names_a_journal_for_every_transport_of_a_process(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "journal"))
    for _ in range(2):
        transport(lambda request: httpx.Response(200, json=GO_ON)).post("/trials/7/reports", BATCH, answer=Directive)
    assert len(list(entries(tmp_path / "journal"))) == 2


def test_lines_of_many_writers_never_mix_and_incomplete_ones_are_skipped(tmp_path):
    file = tmp_path / "journal"

    def write() -> None:
        journal = Journal(file)
        for _ in range(100):
            journal.append("POST", "/heartbeats", query={}, bodies=(b'"' + b"x" * 5_000 + b'"', None), took_s=0.0)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with file.open("ab") as end:
        end.write(b'{"method": "POST", "pa')
    assert [len(entry.request) for entry in entries(file)] == [5_000] * 800


def test_an_invalid_line_is_named_with_its_number(tmp_path):
    file = tmp_path / "journal"
    file.write_text(json.dumps({"something": "else"}) + "\n")
    with pytest.raises(InvalidInput, match="line 1"):
        list(entries(file))


def test_tokens_are_not_recorded(tmp_path):
    journal = Journal(tmp_path / "journal")
    answer = b'{"leases": [{"trial_id": 1, "token": "very-secret"}], "metrics": {"token": 0.5}}'
    journal.append("POST", "/claims", query={}, bodies=(b'{"token": "very-secret", "worker": "w"}', answer), took_s=0.0)
    [entry] = entries(tmp_path / "journal")
    assert (entry.request, entry.answer) == ({"worker": "w"}, {"leases": [{"trial_id": 1}], "metrics": {"token": 0.5}})
    assert b"secret" not in (tmp_path / "journal").read_bytes()

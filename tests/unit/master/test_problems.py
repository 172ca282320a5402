from __future__ import annotations

import json

import pytest

from tunefleet import errors
from tunefleet.client.responses import error_classes, error_from_problem
from tunefleet.errors import InvalidInput, LeaseLost, Problem, StorageUnusable, TunefleetError, UploadOffset
from tunefleet_master.api import problems

ALL = sorted(error_classes(TunefleetError), key=lambda kind: kind.__name__)


def example(kind: type[TunefleetError]) -> TunefleetError:
    return kind([Problem("x", "is wrong")]) if issubclass(kind, InvalidInput) else kind("so it is")


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_document_that_gives_the_error_again(kind: type[TunefleetError]) -> None:
    document = problems.document(example(kind))

    assert document.code == kind.code
    assert type(error_from_problem(document)) is kind


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotAvailableYet([Problem("search", "later")]), 422),
        (errors.NotFound("x"), 404),
        (errors.LeaseLost("x"), 409),
        (errors.StudyExists("x"), 409),
        (errors.Unauthorized("x"), 401),
        (errors.Forbidden("x"), 403),
        (errors.HostNotAllowed("x"), 421),
        (errors.TooManyRequests("x"), 429),
        (errors.TooLarge("x"), 413),
        (errors.StorageUnusable("x"), 503),
    ],
)
def test_an_error_has_the_status_of_its_nearest_kind(error: TunefleetError, status: int) -> None:
    assert problems.document(error).status == status


def test_a_document_has_the_message_the_hint_and_every_problem() -> None:
    error = InvalidInput([Problem("space.lr", "low must be below high", "[1, 0]"), Problem("name", "is required")])

    document = json.loads(bytes(problems.answer(problems.document(error)).body))

    assert document["title"] == "The input is invalid."
    assert document["errors"] == [
        {"field": "space.lr", "rule": "low must be below high", "value": "[1, 0]"},
        {"field": "name", "rule": "is required"},
    ]


def test_a_document_has_its_own_media_type() -> None:
    assert problems.answer(problems.document(LeaseLost("x"))).headers["content-type"] == "application/problem+json"


def test_unusable_storage_has_a_retry_after_header() -> None:
    assert int(problems.answer(problems.document(StorageUnusable("x"))).headers["retry-after"]) > 0


def test_a_wrong_offset_carries_the_right_one() -> None:
    assert problems.document(UploadOffset("x", offset=7)).offset == 7

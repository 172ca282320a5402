"""Errors as RFC 9457 problem documents. Only this module maps errors to statuses."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tunefleet.errors import (
    Conflict,
    Forbidden,
    HostNotAllowed,
    InvalidInput,
    NotFound,
    Problem,
    StorageUnusable,
    TooLarge,
    TooManyRequests,
    TunefleetError,
    Unauthorized,
    UploadOffset,
)
from tunefleet.model import problem_of
from tunefleet.protocol import API, ProblemDetail, ProblemDocument
from tunefleet_master.app_services import services_of

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5  # a full disk or a restart lasts for seconds, and a retry may then succeed

STATUSES: dict[type[TunefleetError], int] = {
    InvalidInput: 422,
    NotFound: 404,
    Conflict: 409,
    Unauthorized: 401,
    Forbidden: 403,
    HostNotAllowed: 421,
    TooManyRequests: 429,
    TooLarge: 413,
    StorageUnusable: 503,
    TunefleetError: 500,
}
CODES = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    416: "range_not_satisfiable",
}
HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": 'Bearer realm="Tunefleet"', "Connection": "close"},  # bodies of strangers are not read
    503: {"Retry-After": str(RETRY_AFTER_S)},
}
TITLES = {
    "malformed_json": "The body is not JSON.",
    "unsupported_media_type": "The body is not declared as JSON.",
    "internal": "Internal error of the master.",
}

_log = logging.getLogger(__name__)

Page = Callable[[Request, ProblemDocument], Response]


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the errors of a route; any route can return 422 and 503."""
    return {
        status: {"model": ProblemDocument, "description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {}}}
        for status in sorted({*statuses, 422, 503})
    }


def document(error: TunefleetError) -> ProblemDocument:
    """The problem document of one of our errors."""
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    return ProblemDocument(
        type=f"urn:tunefleet:problem:{error.code}",
        title=(type(error).__doc__ or error.code).splitlines()[0],
        status=status,
        detail=error.message,
        code=error.code,
        hint=error.hint,
        errors=[
            ProblemDetail(field=problem.field, rule=problem.rule, value=problem.value)
            for problem in getattr(error, "problems", ())
        ],
        offset=error.offset if isinstance(error, UploadOffset) else None,
    )


def plain_document(status: int, code: str, *, detail: str, hint: str | None = None) -> ProblemDocument:
    """The problem document of an error outside our tree, such as a wrong method or a malformed body."""
    return ProblemDocument(
        type=f"urn:tunefleet:problem:{code}",
        title=TITLES.get(code, f"{HTTPStatus(status).phrase}."),
        status=status,
        detail=detail,
        code=code,
        hint=hint,
    )


def answer(problem: ProblemDocument, headers: Mapping[str, str] | None = None) -> Response:
    """The response with this document."""
    return Response(
        problem.model_dump_json(exclude_defaults=True),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={**HEADERS.get(problem.status, {}), **(headers or {})},
    )


def install(app: FastAPI, page: Page) -> None:
    """Answer every error with a problem document; `page` renders it for browsers."""

    async def explained(request: Request, error: Exception) -> Response:
        assert isinstance(error, TunefleetError)
        return refusal(request, error, page=page)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _send(request, _validation_document(error), page=page)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _send(request, _http_document(request, error), headers=error.headers, page=page)

    async def failed(request: Request, error: Exception) -> Response:
        return unexpected(request, page)

    app.add_exception_handler(TunefleetError, explained)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, failed)


def refusal(request: Request, error: TunefleetError, *, page: Page | None = None) -> Response:
    """The response to a request that raised one of our errors; without `page` it is always a document."""
    if isinstance(error, StorageUnusable):
        _log.error("%s %s: %s", request.method, request.url.path, error)
    return _send(request, document(error), headers=_headers(error), page=page)


def unexpected(request: Request, page: Page | None = None) -> Response:
    """The response to a request that failed because of a bug in the master."""
    detail = "An unexpected error; the master's log has its traceback."
    return _send(request, plain_document(500, "internal", detail=detail, hint="Report it, with the log."), page=page)


def _send(
    request: Request, problem: ProblemDocument, *, headers: Mapping[str, str] | None = None, page: Page | None = None
) -> Response:
    services_of(request).metrics.refused(problem.status, problem.code)
    return answer(problem, headers) if page is None or not _is_browsing(request) else page(request, problem)


def _headers(error: TunefleetError) -> dict[str, str]:
    if isinstance(error, TooManyRequests):
        return {"Retry-After": str(math.ceil(error.retry_after_s))}
    return {}


def _is_browsing(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(API)


def _validation_document(error: RequestValidationError) -> ProblemDocument:
    details = error.errors()
    malformed = next((detail for detail in details if detail["type"] == "json_invalid"), None)
    if malformed is not None:
        where = f"{malformed['ctx']['error']} at character {malformed['loc'][-1]}"
        return plain_document(400, "malformed_json", detail=f"The body is not JSON: {where}.")
    if any(isinstance(detail.get("input"), bytes) for detail in details):
        rule = "The body must be JSON with the header `Content-Type: application/json`."
        return plain_document(415, "unsupported_media_type", detail=rule, hint="With curl: --json '{…}'.")
    return document(InvalidInput(_problem(detail) for detail in details))


def _problem(details: Mapping[str, Any]) -> Problem:
    location = details["loc"]
    if details["type"] == "missing" and location == ("body",):
        return Problem("body", "is required")
    # The first item names the part of the request; the caller wrote only the rest.
    return problem_of({**details, "loc": location[1:]})


def _http_document(request: Request, error: HTTPException) -> ProblemDocument:
    status, detail = error.status_code, str(error.detail)
    if status == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"There is nothing at {request.url.path}."
    if status == 405:
        detail = f"{request.url.path} has no {request.method}."
    if status == 400 and "parsing the body" in detail:
        return plain_document(400, "malformed_json", detail="The body is not JSON in UTF-8, or is nested too deeply.")
    return plain_document(status, CODES.get(status, f"http_{status}"), detail=detail)

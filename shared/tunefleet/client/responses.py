"""Responses of a master, parsed into messages and into the errors of `tunefleet.errors`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import NoneType
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from tunefleet.errors import InvalidInput, MasterUnreachable, Problem, TunefleetError, Unauthorized, UploadOffset
from tunefleet.protocol import ProblemDocument

T = TypeVar("T")

PROBLEM_TYPE = "application/problem+json"
URL_HINT = (
    "Start one with `tunefleet up`, or give the address of a running one with --url, Client(url=...) "
    "or the environment variable TUNEFLEET_URL."
)
# Hints for users of the client and of the commands; the master's own hints are about requests.
_HINTS: dict[type[TunefleetError], str] = {
    Unauthorized: "Give a valid token with --token, Client(token=...) or the environment variable TUNEFLEET_TOKEN.",
}


def parse_response(content: bytes, answer: type[T], *, url: str) -> T:
    """Parse the body of a successful response as any type that pydantic knows; `NoneType` ignores the body.

    Raises:
        MasterUnreachable: the body is not an `answer`; the message names `url`.
    """
    if answer is NoneType:
        return cast("T", None)
    try:
        return cast("T", _adapter(cast("Any", answer)).validate_json(content))
    except ValidationError as error:
        if content.lstrip()[:1] not in (b"{", b"["):
            raise not_a_master(url, "its answer is not JSON") from error
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MasterUnreachable(
            f"The answer of {url} is not a {answer.__name__} ({place}: {first['msg']}).",
            hint="Do this program and the master have the same version? Compare both with `tunefleet doctor`.",
        ) from error


def error_from_response(status: int, content: bytes, *, content_type: str, url: str) -> TunefleetError:
    """Return the error that an unsuccessful response describes."""
    try:
        document = ProblemDocument.model_validate_json(content) if content_type.startswith(PROBLEM_TYPE) else None
    except ValidationError:
        document = None
    return (
        not_a_master(url, f"status {status}, {content_type or 'no content type'}")
        if document is None
        else error_from_problem(document)
    )


def error_from_problem(document: ProblemDocument) -> TunefleetError:
    """Return the error class with the document's code, filled from the document."""
    problems = [Problem(detail.field, detail.rule, detail.value) for detail in document.errors]
    known = {kind.code: kind for kind in error_classes(TunefleetError)}
    kind = known.get(document.code, InvalidInput if document.status in (400, 422) else TunefleetError)
    if issubclass(kind, InvalidInput):
        return kind(problems or [Problem("", document.detail)], hint=document.hint)
    if issubclass(kind, UploadOffset):
        return kind(document.detail, offset=document.offset or 0, hint=document.hint)
    return kind(document.detail, hint=_HINTS.get(kind) or document.hint)


def error_classes(root: type[TunefleetError]) -> Iterator[type[TunefleetError]]:
    """Yield the class and all its subclasses."""
    yield root
    for child in root.__subclasses__():
        yield from error_classes(child)


def not_a_master(url: str, seen: str) -> MasterUnreachable:
    """Return the error for a server at `url` that is not a master; `seen` describes its answer."""
    return MasterUnreachable(
        f"Something answers at {url}, but it is not a Tunefleet master ({seen}).", hint=f"Check the address. {URL_HINT}"
    )


@lru_cache(maxsize=64)
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)

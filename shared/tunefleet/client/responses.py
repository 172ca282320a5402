"""What a master's answer means: a message, one of our errors, or something that is no master of ours."""

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
    "Start one with `tunefleet up`, or give the address of the one that runs with --url, Client(url=...) "
    "or the environment variable TUNEFLEET_URL."
)
# What a Python client or a command can do about it, where the master only knows what a request needs.
_HINTS: dict[type[TunefleetError], str] = {
    Unauthorized: "Give one that is good with --token, Client(token=...) or the environment variable TUNEFLEET_TOKEN.",
}


def parse_response(content: bytes, answer: type[T], *, url: str) -> T:
    """The body of a good answer as its message; any type that pydantic knows, and `NoneType` for no matter what.

    Raises:
        MasterUnreachable: it is something else; `url` says who answered it.
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
            f"{url} answered something else than a {answer.__name__} ({place}: {first['msg']}).",
            hint="Are this program and the master of the same version? `tunefleet --version` and `tunefleet ls` tell.",
        ) from error


def error_from_response(status: int, content: bytes, *, content_type: str, url: str) -> TunefleetError:
    """The error that a refusing answer stands for."""
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
    """A problem document as the error of our tree that has its code."""
    problems = [Problem(detail.field, detail.rule, detail.value) for detail in document.errors]
    known = {kind.code: kind for kind in error_classes(TunefleetError)}
    kind = known.get(document.code, InvalidInput if document.status in (400, 422) else TunefleetError)
    if issubclass(kind, InvalidInput):
        return kind(problems or [Problem("", document.detail)], hint=document.hint)
    if issubclass(kind, UploadOffset):
        return kind(document.detail, offset=document.offset or 0, hint=document.hint)
    return kind(document.detail, hint=_HINTS.get(kind) or document.hint)


def error_classes(root: type[TunefleetError]) -> Iterator[type[TunefleetError]]:
    """The class and all below it."""
    yield root
    for child in root.__subclasses__():
        yield from error_classes(child)


def not_a_master(url: str, seen: str) -> MasterUnreachable:
    """Somebody answers at the URL, and it is not a master."""
    return MasterUnreachable(
        f"Something answers at {url}, but it is not a Tunefleet master ({seen}).", hint=f"Check the address. {URL_HINT}"
    )


@lru_cache(maxsize=64)
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)

"""Streamed uploads: whole, or in parts that resume after a broken connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.exceptions import HTTPException

from tunefleet.errors import InvalidInput, Problem
from tunefleet_master.storage.blobs import BlobStore, Upload

_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")


@dataclass(frozen=True, slots=True)
class Span:
    """The range of bytes in a request: `begin` up to but excluding `end`, of `total`; None: not declared."""

    begin: int = 0
    end: int | None = None
    total: int | None = None


def span_of(request: Request) -> Span:
    """Parse `Content-Range: bytes FROM-TO/TOTAL`; without the header, the body is the whole content."""
    text = request.headers.get("content-range")
    if text is None:
        return Span()
    match = _RANGE.fullmatch(text)
    if match is not None:
        begin, last, total = (int(digits) for digits in match.groups())
        if begin <= last < total:
            return Span(begin, last + 1, total)
    raise InvalidInput([Problem("Content-Range", "must be 'bytes FROM-TO/TOTAL', with FROM <= TO < TOTAL", text[:80])])


@asynccontextmanager
async def receiving(request: Request, blobs: BlobStore, *, key: str) -> AsyncIterator[tuple[Upload, bool]]:
    """Read the request's body into the upload with this key; also return whether the content is complete.

    Received bytes stay for a resumed upload when the connection breaks. They are deleted when the body is invalid.
    """
    span = span_of(request)
    upload = await asyncio.to_thread(blobs.begin, key, offset=span.begin)
    try:
        await upload.receive(request.stream())
        _check_length(upload, span)
        yield upload, span.total is None or upload.size_bytes == span.total
    except (HTTPException, InvalidInput):
        await asyncio.to_thread(upload.discard)
        raise
    finally:
        await asyncio.to_thread(upload.close)


def _check_length(upload: Upload, span: Span) -> None:
    if span.end is not None and upload.size_bytes != span.end:
        rule = f"declares bytes up to {span.end}, but the body ends at {upload.size_bytes}"
        raise InvalidInput([Problem("Content-Range", rule)])

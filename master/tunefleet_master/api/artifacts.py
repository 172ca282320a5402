"""Stored files of trials: upload and download."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from tunefleet.failpoints import failpoint
from tunefleet.names import Hash, Name
from tunefleet.protocol import API, ArtifactRef, AttemptNumber
from tunefleet_master.access import Access, check_attempt, needs
from tunefleet_master.api.downloads import Download
from tunefleet_master.api.problems import responses
from tunefleet_master.api.trials import Id
from tunefleet_master.api.uploads import receiving
from tunefleet_master.app_services import Services, ServicesOf
from tunefleet_master.services.execution import artifacts
from tunefleet_master.storage.blobs import Upload
from tunefleet_master.storage.unit_of_work import UnitOfWork

router = APIRouter(prefix=f"{API}/trials", tags=["files"])

BINARY = {"requestBody": {"required": True, "content": {"application/octet-stream": {}}}}
PATH = "/{trial_id}/artifacts/{name}"

Attempt = Annotated[AttemptNumber, Query(description="The attempt number from the lease.")]
Sha256 = Annotated[Hash, Query(description="The content's sha256; other content is refused.")]


@router.put(
    PATH,
    status_code=201,
    summary="Store a file",
    response_model=ArtifactRef,
    responses={202: {"description": "A part has arrived; see `Upload-Offset`."}, **responses(404, 409, 413)},
    openapi_extra=BINARY,
)
@needs(Access.ATTEMPT)
async def store(
    services: ServicesOf, request: Request, trial_id: Id, name: Name, attempt: Attempt, sha256: Sha256
) -> Response:
    """Store a file that is streamed as the body.

    Resume a broken upload with `Content-Range: bytes FROM-TO/TOTAL`; HEAD returns FROM. A wrong FROM returns 409
    `upload_offset` with the right `offset`. An existing file of the same name is replaced.
    """
    check_attempt(request, attempt)
    await services.database.aread(lambda uow: artifacts.check_may_write(uow, trial_id, attempt))
    async with receiving(request, services.blobs, key=_key(trial_id, attempt, sha256)) as (upload, is_whole):
        if not is_whole:
            return Response(status_code=202, headers={"Upload-Offset": str(upload.size_bytes)})
        await asyncio.to_thread(upload.seal, sha256)
        ref = await _attach(services, trial_id, name, artifacts.Upload(attempt, sha256, upload.size_bytes), upload)
    return JSONResponse(ref.model_dump(mode="json"), status_code=201)


@router.head(PATH, summary="Read the offset of an upload", responses=responses(404))
@needs(Access.ATTEMPT)
async def offset(
    services: ServicesOf, request: Request, trial_id: Id, name: Name, attempt: Attempt, sha256: Sha256
) -> Response:
    """Return the byte to continue with, in the header `Upload-Offset`."""
    check_attempt(request, attempt)
    held = await asyncio.to_thread(services.blobs.partial_bytes, _key(trial_id, attempt, sha256))
    return Response(headers={"Upload-Offset": str(held)})


@router.get(PATH, summary="Fetch a file", response_class=FileResponse, responses=responses(400, 404, 416))
@needs(Access.FETCH)
async def fetch(services: ServicesOf, trial_id: Id, name: Name) -> Response:
    """Return the content as an attachment; `Range` is supported, and `ETag` is the sha256."""
    ref = await services.database.aread(lambda uow: artifacts.find(uow, trial_id, name))
    return Download(
        services.blobs.path(ref.sha256),
        stat_result=await asyncio.to_thread(services.blobs.stat, ref.sha256),
        filename=ref.name,
        media_type="application/octet-stream",
        headers={"ETag": f'"{ref.sha256}"', "Cache-Control": "private, no-cache"},
    )


async def _attach(services: Services, trial_id: Id, name: str, facts: artifacts.Upload, upload: Upload) -> ArtifactRef:
    def attach(uow: UnitOfWork) -> ArtifactRef:
        ref = artifacts.attach(uow, trial_id, name, upload=facts)
        # On the writer's thread, so that no garbage collection runs between the row and the file; safe to do twice.
        failpoint("master.before_publish")
        upload.publish()
        failpoint("master.after_publish")
        return ref

    return await services.database.awrite(attach)


def _key(trial_id: int, attempt: int, sha256: str) -> str:
    return f"{trial_id}-{attempt}-{sha256}"

"""Bundles of users' code, addressed by the hash of their content."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from tunefleet.names import Hash
from tunefleet.protocol import API
from tunefleet_master.access import Access, needs
from tunefleet_master.api.artifacts import BINARY
from tunefleet_master.api.downloads import Download
from tunefleet_master.api.problems import responses
from tunefleet_master.api.uploads import receiving
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.execution import bundles
from tunefleet_master.storage.unit_of_work import UnitOfWork

router = APIRouter(prefix=f"{API}/bundles", tags=["files"])


@router.put("/{sha256}", status_code=201, summary="Store a bundle", responses=responses(413), openapi_extra=BINARY)
@needs(Access.SUBMIT)
async def store(services: ServicesOf, request: Request, sha256: Hash) -> Response:
    """Store an archive that is streamed as the body, before the study that names it is submitted. Safe to repeat."""
    async with receiving(request, services.blobs, key=f"bundle-{sha256}") as (upload, is_whole):
        if not is_whole:
            return Response(status_code=202, headers={"Upload-Offset": str(upload.size_bytes)})
        await asyncio.to_thread(upload.seal, sha256)

        def attach(uow: UnitOfWork) -> bool:
            is_new = bundles.attach(uow, sha256, upload.size_bytes)
            upload.publish()  # on the writer's thread, as for artifacts
            return is_new

        is_new = await services.database.awrite(attach)
    return Response(status_code=201 if is_new else 200, headers={"Location": f"{API}/bundles/{sha256}"})


@router.head("/{sha256}", summary="Read the offset of an upload")
@needs(Access.SUBMIT)
async def offset(services: ServicesOf, sha256: Hash) -> Response:
    """Return the byte to continue with, in the header `Upload-Offset`."""
    held = await asyncio.to_thread(services.blobs.partial_bytes, f"bundle-{sha256}")
    return Response(headers={"Upload-Offset": str(held)})


@router.get("/{sha256}", summary="Fetch a bundle", response_class=FileResponse, responses=responses(400, 404, 416))
@needs(Access.FETCH)
async def fetch(services: ServicesOf, sha256: Hash) -> Response:
    """Return the archive as an attachment. The content of a hash never changes."""
    await services.database.aread(lambda uow: bundles.check(uow, sha256))
    return Download(
        services.blobs.path(sha256),
        stat_result=await asyncio.to_thread(services.blobs.stat, sha256),
        filename=f"{sha256}.tar.gz",
        media_type="application/octet-stream",
        headers={"ETag": f'"{sha256}"', "Cache-Control": "private, max-age=31536000, immutable"},
    )

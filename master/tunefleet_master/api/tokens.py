"""Endpoints for tokens; admins only."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request

from tunefleet.names import Name
from tunefleet.protocol import API
from tunefleet.protocol.tokens import NewToken, TokenRequest, TokenView
from tunefleet_master.access import Access, caller_of, needs
from tunefleet_master.api.problems import responses
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.access import tokens

router = APIRouter(prefix=f"{API}/tokens", tags=["tokens"])

_log = logging.getLogger(__name__)


@router.post("", status_code=201, summary="Create a token", responses=responses(409))
@needs(Access.ADMIN)
async def create(services: ServicesOf, request: Request, body: TokenRequest) -> NewToken:
    """Create a token. Only this response shows it. The first token must have the scope `admin`."""
    given = services.token_cache.admin_is_given
    token = await services.database.awrite(lambda uow: tokens.create(uow, body, admin_is_given=given), idempotent=False)
    await services.token_cache.load()
    _log.info("%s created the token %s (%s)", caller_of(request).name, token.name, " ".join(token.scopes))
    return token


@router.get("", summary="List the tokens", responses=responses())
@needs(Access.ADMIN)
async def list_tokens(services: ServicesOf) -> list[TokenView]:
    """Return every token by name with its scopes, including expired and revoked ones."""
    return await services.database.aread(tokens.everything)


@router.delete("/{name}", status_code=204, summary="Revoke a token", responses=responses(404, 409))
@needs(Access.ADMIN)
async def revoke(services: ServicesOf, request: Request, name: Name) -> None:
    """Revoke the token, on other replicas within seconds; sessions that began with it end too."""
    given = services.token_cache.admin_is_given
    await services.database.awrite(lambda uow: tokens.revoke(uow, name, admin_is_given=given))
    await services.token_cache.load()
    _log.info("%s revoked the token %s", caller_of(request).name, name)

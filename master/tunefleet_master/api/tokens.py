"""Tokens, for admins."""

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


@router.post("", status_code=201, summary="Make a token", responses=responses(409))
@needs(Access.ADMIN)
async def create(services: ServicesOf, request: Request, body: TokenRequest) -> NewToken:
    """The answer has the token, which is shown this once. The first token of all must be an admin's."""
    given = services.token_cache.admin_is_given
    token = await services.database.awrite(lambda uow: tokens.create(uow, body, admin_is_given=given), idempotent=False)
    await services.token_cache.load()
    _log.info("%s made the token %s (%s)", caller_of(request).name, token.name, " ".join(token.scopes))
    return token


@router.get("", summary="List the tokens", responses=responses())
@needs(Access.ADMIN)
async def list_tokens(services: ServicesOf) -> list[TokenView]:
    """Every token by name, with what it is good for; the expired and revoked ones too."""
    return await services.database.aread(tokens.everything)


@router.delete("/{name}", status_code=204, summary="Revoke a token", responses=responses(404, 409))
@needs(Access.ADMIN)
async def revoke(services: ServicesOf, request: Request, name: Name) -> None:
    """It opens nothing from now on, on other replicas within seconds; the sessions that began with it end, too."""
    given = services.token_cache.admin_is_given
    await services.database.awrite(lambda uow: tokens.revoke(uow, name, admin_is_given=given))
    await services.token_cache.load()
    _log.info("%s revoked the token %s", caller_of(request).name, name)

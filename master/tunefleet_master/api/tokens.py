"""Tokens, for admins."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request

from tunefleet.names import Name
from tunefleet.protocol import API
from tunefleet.tokens import NewToken, TokenRequest, TokenView
from tunefleet_master.access import Access, caller_of, needs
from tunefleet_master.api.problems import responses
from tunefleet_master.parts import PartsOf
from tunefleet_master.services import tokens

router = APIRouter(prefix=f"{API}/tokens", tags=["tokens"])

_log = logging.getLogger(__name__)


@router.post("", status_code=201, summary="Make a token", responses=responses(409))
@needs(Access.ADMIN)
async def create(parts: PartsOf, request: Request, body: TokenRequest) -> NewToken:
    """The answer has the token, which is shown this once. The first token of all must be an admin's."""
    given = parts.keyring.admin_is_given
    token = await parts.database.awrite(lambda uow: tokens.create(uow, body, admin_is_given=given), repeatable=False)
    await parts.keyring.load()
    _log.info("%s made the token %s (%s)", caller_of(request).name, token.name, " ".join(token.scopes))
    return token


@router.get("", summary="List the tokens", responses=responses())
@needs(Access.ADMIN)
async def list_tokens(parts: PartsOf) -> list[TokenView]:
    """Every token by name, with what it is good for; the expired and revoked ones too."""
    return await parts.database.aread(tokens.everything)


@router.delete("/{name}", status_code=204, summary="Revoke a token", responses=responses(404, 409))
@needs(Access.ADMIN)
async def revoke(parts: PartsOf, request: Request, name: Name) -> None:
    """It opens nothing from now on, on other replicas within seconds; the sessions that began with it end, too."""
    given = parts.keyring.admin_is_given
    await parts.database.awrite(lambda uow: tokens.revoke(uow, name, admin_is_given=given))
    await parts.keyring.load()
    _log.info("%s revoked the token %s", caller_of(request).name, name)

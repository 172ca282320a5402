"""Login with a browser: a form, or the link that the master prints at its first start."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from tunefleet_master.access import Access, caller_of, needs, session_cookie
from tunefleet_master.app_services import Services, ServicesOf
from tunefleet_master.dashboard.rendering import render

router = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(max_length=2_000)]


@router.get("/login")
@needs(Access.LOGIN)
async def show(
    services: ServicesOf, request: Request, token: Annotated[str | None, Query(max_length=500)] = None, next: Next = "/"
) -> Response:
    """Render the form; with a token in the URL, begin the session and redirect to a URL without it."""
    if token is not None:
        return _log_in(services, request, token=token, to=next)
    return _form(services, request, to=next)


@router.post("/login")
@needs(Access.LOGIN)
async def enter(services: ServicesOf, request: Request) -> Response:
    """Begin a session with the token from the form."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    return _log_in(services, request, token=fields.get("token", [""])[0].strip(), to=fields.get("next", ["/"])[0])


@router.post("/logout")
@needs(Access.LOGIN)
async def leave(request: Request) -> Response:
    """End the session."""
    response = RedirectResponse("/login", 303)
    response.delete_cookie(session_cookie(request), httponly=True, samesite="strict")
    return response


def _log_in(services: Services, request: Request, *, token: str, to: str) -> Response:
    session = services.token_cache.begin_session(token.encode())
    if session is None and not services.token_cache.is_open:
        return _form(services, request, to=to, is_wrong=True)
    response = RedirectResponse(_local_path(to), 303)
    if session is not None:
        response.set_cookie(
            session_cookie(request),
            session.cookie,
            expires=session.expires_at,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return response


def _form(services: Services, request: Request, *, to: str, is_wrong: bool = False) -> Response:
    caller = caller_of(request)
    return render(
        "login.html",
        status=401 if is_wrong else 200,
        caller=caller if caller.is_known else None,
        is_open=services.token_cache.is_open,
        is_wrong=is_wrong,
        next=_local_path(to),
    )


def _local_path(path: str) -> str:
    """The path if it belongs to this master, otherwise `/`; refuses addresses of other sites."""
    is_path = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_path and path.isprintable() else "/"

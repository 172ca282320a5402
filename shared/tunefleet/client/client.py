"""The Python client of a master: studies and their trials.

>>> client = Client()  # http://127.0.0.1:8765, or TUNEFLEET_URL
>>> study = client.submit("study.yaml")
>>> study.wait()
>>> study.best().params
{'lr': 0.0031, 'optimizer': 'adamw'}
>>> study.trials(sort="-value").to_pandas()
"""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Self

from tunefleet.client.bundle import pack
from tunefleet.client.study import Study
from tunefleet.client.study_file import load_checked_study, refuse_invalid_study, with_code, with_preflight
from tunefleet.client.transport import Transport, route
from tunefleet.errors import NotFound
from tunefleet.protocol import Page, StatusView, StudyDetail, StudyView, WorkerView
from tunefleet.protocol.tokens import NewToken, TokenRequest, TokenView
from tunefleet.study.spec import BUNDLE_PREFIX, StudySpec

DEFAULT_URL = "http://127.0.0.1:8765"
URL_VARIABLE = "TUNEFLEET_URL"
TOKEN_VARIABLE = "TUNEFLEET_TOKEN"
_PAGE_SIZE = 200


class Client:
    """A connection to one master; threads may share it, and the end of its `with` block closes it.

    Args:
        url: the master's address; by default TUNEFLEET_URL, or else port 8765 of this machine.
        token: by default TUNEFLEET_TOKEN.
        retry_for_s: how long each call is retried while the master cannot be reached; None: without limit.
        transport: replaces the connection that `url`, `token` and `retry_for_s` describe.

    Every call raises the errors of `tunefleet.errors`, and MasterUnreachable when the master does not answer.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        retry_for_s: float | None = 20.0,
        transport: Transport | None = None,
    ) -> None:
        self._stop = threading.Event()
        self.transport = transport or Transport(
            url or os.environ.get(URL_VARIABLE) or DEFAULT_URL,
            token or os.environ.get(TOKEN_VARIABLE) or None,
            retry_for_s=retry_for_s,
            stop=self._stop,
        )

    @property
    def url(self) -> str:
        """The master's address."""
        return self.transport.url

    def close(self) -> None:
        """Close the connections; running calls are not retried."""
        self._stop.set()
        self.transport.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def submit(self, study: StudySpec | Path | str | Mapping[str, Any], *, preflight: bool | None = None) -> Study:
        """Submit a study: a spec, the path of a file, or plain data. A folder in `run.code` is packed and sent first.

        The call is idempotent: the same study again returns the existing one. `preflight` turns on or off the check
        that the study's function can learn at all; None leaves the study's own setting.

        Raises:
            InvalidInput: the study, its function or its code breaks a rule; nothing was sent.
            NotAvailableYet: the study uses a feature that this version does not have.
            TooLarge: the packed code exceeds 50 MB.
            StudyExists: a study with this name and another spec exists.
        """
        body = with_code(with_preflight(_checked(study), preflight), self._upload_code)
        detail = self.transport.post("/studies", body, answer=StudyDetail)
        return Study(self.transport, detail.name)

    def study(self, name: str) -> Study:
        """Return an existing study. Raises NotFound, with the most similar name, when there is none."""
        study = Study(self.transport, name)
        try:
            study.view()
        except NotFound as error:
            near = difflib.get_close_matches(name, [view.name for view in self.studies()], n=1)
            if not near:
                raise
            raise NotFound(error.message, hint=f"Did you mean {near[0]!r}? {error.hint or ''}".rstrip()) from error
        return study

    def studies(self) -> list[StudyView]:
        """Return all studies, the newest first."""
        items: list[StudyView] = []
        cursor: str | None = None
        while True:
            page = self.transport.get("/studies", Page[StudyView], query={"cursor": cursor, "limit": _PAGE_SIZE})
            items += page.items
            cursor = page.next
            if cursor is None:
                return items

    def workers(self) -> list[WorkerView]:
        """Return all workers that the master knows."""
        return self.transport.get("/workers", list[WorkerView])

    def status(self) -> StatusView:
        """Return the content of the dashboard's first page."""
        return self.transport.get("/status", StatusView)

    def create_token(self, name: str, scopes: Iterable[str], *, expires_in_s: float | str | None = None) -> NewToken:
        """Create a token; only this answer contains it. `expires_in_s` may also be a text such as `90d`.

        Raises:
            InvalidInput: the scope does not exist, or the name or the time is invalid.
            Conflict: a token with the name exists, or the first token does not have the scope `admin`.
            Forbidden: this client's own token does not have the scope `admin`.
        """
        body = TokenRequest.parse({"name": name, "scopes": [*scopes], "expires_in_s": expires_in_s})
        return self.transport.post("/tokens", body, answer=NewToken)

    def tokens(self) -> list[TokenView]:
        """Return all tokens by name, also expired and revoked ones. Raises Forbidden, as `create_token` does."""
        return self.transport.get("/tokens", list[TokenView])

    def revoke_token(self, name: str) -> None:
        """Revoke a token.

        Raises:
            NotFound: no token has this name.
            Conflict: it is the last token with the scope `admin`.
            Forbidden: this client's own token does not have the scope `admin`.
        """
        self.transport.delete(route("tokens", name))

    def _upload_code(self, code: str) -> str:
        with pack(Path(code)) as bundle:
            self.transport.put_file(route("bundles", bundle.sha256), bundle.path, answer=NoneType)
        return f"{BUNDLE_PREFIX}{bundle.sha256}"


def _checked(study: StudySpec | Path | str | Mapping[str, Any]) -> StudySpec:
    """Return the study's spec after every check that needs no master."""
    if not isinstance(study, StudySpec | Mapping):
        return load_checked_study(study)
    spec = study if isinstance(study, StudySpec) else StudySpec.parse(study)
    refuse_invalid_study(spec)
    return spec

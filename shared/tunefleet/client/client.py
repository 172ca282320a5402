"""The Python face of a master: studies and their trials.

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
    """A connection to one master; may be shared by threads, and closes with its `with` block.

    Args:
        url: where the master is; else TUNEFLEET_URL, else this machine's port 8765.
        token: else TUNEFLEET_TOKEN.
        retry_for_s: how long each call is tried again while the master cannot be reached; None: for ever.

    Every call raises the errors of `tunefleet.errors`; MasterUnreachable when there is no answer.
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
        """Where the master is."""
        return self.transport.url

    def close(self) -> None:
        """Close the connections; calls in hand are not tried again."""
        self._stop.set()
        self.transport.close()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def submit(self, study: StudySpec | Path | str | Mapping[str, Any], *, preflight: bool | None = None) -> Study:
        """Hand in a study: a spec, the path of a file, or plain data. A folder in `run.code` is packed and sent first.

        The same study again is harmless and gives the one that is there. With `preflight` it is checked first whether
        the study's function can learn at all, or is not; None: as the study says.

        Raises:
            InvalidInput: the study, its function or its code breaks a rule; nothing was sent.
            NotAvailableYet: it uses what this version cannot run.
            TooLarge: the code is over 50 MB when packed.
            StudyExists: another spec stands under this name.
        """
        body = with_code(with_preflight(_checked(study), preflight), self._upload_code)
        detail = self.transport.post("/studies", body, answer=StudyDetail)
        return Study(self.transport, detail.name)

    def study(self, name: str) -> Study:
        """A study that is there. Raises NotFound when it is not, with the name that was probably meant."""
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
        """All studies, the newest first."""
        items: list[StudyView] = []
        cursor: str | None = None
        while True:
            page = self.transport.get("/studies", Page[StudyView], query={"cursor": cursor, "limit": _PAGE_SIZE})
            items += page.items
            cursor = page.next
            if cursor is None:
                return items

    def workers(self) -> list[WorkerView]:
        """All workers that the master has met."""
        return self.transport.get("/workers", list[WorkerView])

    def status(self) -> StatusView:
        """Everything that the dashboard's first page shows."""
        return self.transport.get("/status", StatusView)

    def create_token(self, name: str, scopes: Iterable[str], *, expires_in_s: float | str | None = None) -> NewToken:
        """Make a token; it is in the answer and nowhere else. `expires_in_s` may also be a text such as `90d`.

        Raises:
            InvalidInput: there is no such scope, or the name or the time cannot be one.
            Conflict: a token has the name, or this would be the first token and no admin's.
            Forbidden: this client's own token is no admin's.
        """
        body = TokenRequest.parse({"name": name, "scopes": [*scopes], "expires_in_s": expires_in_s})
        return self.transport.post("/tokens", body, answer=NewToken)

    def tokens(self) -> list[TokenView]:
        """All tokens by name, the expired and revoked ones too. Raises Forbidden, as `create_token` does."""
        return self.transport.get("/tokens", list[TokenView])

    def revoke_token(self, name: str) -> None:
        """Let a token open nothing any more.

        Raises:
            NotFound: there is none of this name. Conflict: it is the last admin's. Forbidden.
        """
        self.transport.delete(route("tokens", name))

    def _upload_code(self, code: str) -> str:
        with pack(Path(code)) as bundle:
            self.transport.put_file(route("bundles", bundle.sha256), bundle.path, answer=NoneType)
        return f"{BUNDLE_PREFIX}{bundle.sha256}"


def _checked(study: StudySpec | Path | str | Mapping[str, Any]) -> StudySpec:
    """The study, after everything that can be judged before it is sent."""
    if not isinstance(study, StudySpec | Mapping):
        return load_checked_study(study)
    spec = study if isinstance(study, StudySpec) else StudySpec.parse(study)
    refuse_invalid_study(spec)
    return spec

"""The process that runs learning samplers: a fit delays no request, holds no lock, and can be killed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from tunefleet.errors import TunefleetError
from tunefleet_master.search import registry
from tunefleet_master.search.history import Edit
from tunefleet_master.search.sampler import Sampler, Suggestions
from tunefleet_master.services.planning.history_process import (
    Begin,
    Forget,
    HistoryProcess,
    RequestHandler,
    Update,
)

TIME_LIMIT_S = 60.0
"""For one call; the slowest sampler takes seconds to serve a whole fleet."""


class SamplerFailed(TunefleetError):
    """The sampler raised an error or exceeded its time limit."""

    code = "sampler_failed"


@dataclass(frozen=True, slots=True)
class ProposalRequest:
    """A request for `n` proposals, from `position` on."""

    study_id: int
    position: int
    n: int


class SamplerProcess(HistoryProcess):
    """The process that answers requests for proposals.

    Args:
        time_limit_s: for one call.
    """

    def __init__(self, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        name, role = "tunefleet-sampler", "The sampler"
        super().__init__(_ProposalHandler, name=name, role=role, error=SamplerFailed, time_limit_s=time_limit_s)

    def ask(self, request: ProposalRequest) -> Suggestions:
        """Return the proposals of the study's sampler.

        Raises:
            SamplerFailed: the hint is the traceback.
        """
        return cast("Suggestions", self.call(request))


class _ProposalHandler(RequestHandler):
    """Holds a sampler for each history, in the process."""

    def __init__(self) -> None:
        super().__init__()
        self._samplers: dict[int, Sampler] = {}

    def begin(self, begin: Begin) -> None:
        self._samplers[begin.study_id] = registry.build(begin.sampler, begin.spec)
        super().begin(begin)

    def update(self, update: Update) -> None:
        super().update(update)
        if any(isinstance(change, Edit) for change in update.changes):
            space = self.histories[update.study_id].axes.space
            self._samplers[update.study_id] = self._samplers[update.study_id].on(space)

    def forget(self, forget: Forget) -> None:
        self._samplers.pop(forget.study_id, None)
        super().forget(forget)

    def answer(self, request: object) -> object:
        assert isinstance(request, ProposalRequest)
        sampler = self._samplers[request.study_id]
        return sampler.suggest(request.position, request.n, history=self.histories[request.study_id])

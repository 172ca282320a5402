"""The process in which samplers think, so that a fit delays no request, takes no lock, and can be ended."""

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
    Tell,
)

TIME_LIMIT_S = 60.0
"""For one call; the slowest sampler takes seconds for a fleet of workers that all ask at once."""


class SamplerFailed(TunefleetError):
    """The sampler raised an error, or took longer than it may."""

    code = "sampler_failed"


@dataclass(frozen=True, slots=True)
class Ask:
    """Proposals are wanted."""

    study_id: int
    position: int
    n: int


class SamplerProcess(HistoryProcess):
    """The process, asked for proposals.

    Args:
        time_limit_s: for one call.
    """

    def __init__(self, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        super().__init__(
            _Desk, name="tunefleet-sampler", role="The sampler", error=SamplerFailed, time_limit_s=time_limit_s
        )

    def ask(self, ask: Ask) -> Suggestions:
        """Proposals.

        Raises:
            SamplerFailed: with the traceback as its hint.
        """
        return cast("Suggestions", self.call(ask))


class _Desk(RequestHandler):
    """The samplers of the process."""

    def __init__(self) -> None:
        super().__init__()
        self._samplers: dict[int, Sampler] = {}

    def begin(self, begin: Begin) -> None:
        self._samplers[begin.study_id] = registry.build(begin.sampler, begin.spec)
        super().begin(begin)

    def tell(self, tell: Tell) -> None:
        super().tell(tell)
        if any(isinstance(change, Edit) for change in tell.changes):
            space = self.histories[tell.study_id].axes.space
            self._samplers[tell.study_id] = self._samplers[tell.study_id].on(space)

    def forget(self, forget: Forget) -> None:
        self._samplers.pop(forget.study_id, None)
        super().forget(forget)

    def answer(self, question: object) -> object:
        assert isinstance(question, Ask)
        sampler = self._samplers[question.study_id]
        return sampler.suggest(question.position, question.n, history=self.histories[question.study_id])

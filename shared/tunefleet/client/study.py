"""One study on a master: read it, steer it, wait for it, take its best model home, run its trials by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from tunefleet.client.artifacts import download
from tunefleet.client.claimed_trial import ClaimedTrial, claim_request, claim_trial
from tunefleet.client.event_stream import follow
from tunefleet.client.transport import Transport, route
from tunefleet.client.trials import PAGE_SIZE, Trials
from tunefleet.errors import NotFound
from tunefleet.protocol import (
    MAX_WAIT_S,
    ConfigurationView,
    EnqueueRequest,
    Event,
    Failure,
    Page,
    RetryRequest,
    RetryResponse,
    StudyDetail,
    StudyFindings,
    StudyPatch,
    StudyState,
    StudyView,
    TrialDetail,
    TrialFindings,
    TrialState,
    TrialView,
)
from tunefleet.protocol.looks import LabelLook, StudyLook, TrialLook
from tunefleet.protocol.telemetry import Telemetry
from tunefleet.study.spec import Budget
from tunefleet.study.states import STUDY_OVER

FIRST_POLL_S = 0.1
MAX_POLL_S = 1.0
FINDINGS_WAIT_S = 10.0  # of each call
CLAIM_WAIT_S = 5.0  # a loop of claims notices within this time that its study is over
LOG_NAME = "log.txt"
RUN_FILE_PREFIXES = ("checkpoint", "log", "telemetry")
"""What the names of files begin with that belong to the running, and not to the result, of a trial."""

T = TypeVar("T")


class Study:
    """A study on a master; `Client.submit` and `Client.study` make it. Every call asks the master anew."""

    def __init__(self, transport: Transport, name: str) -> None:
        self.name = name
        self._transport = transport
        self._path = route("studies", name)

    def __repr__(self) -> str:
        """Its name."""
        return f"Study({self.name!r})"

    def view(self) -> StudyDetail:
        """The study as it stands: state, trials by state, best trial, spec."""
        return self._transport.get(self._path, StudyDetail)

    def trials(
        self, state: TrialState | str | None = None, sort: str = "number", *, limit: int | None = None
    ) -> Trials:
        """Its trials as a sequence; see Trials for `state`, `sort` and `limit`."""
        return Trials(self._transport, self.name, state=state, sort=sort, limit=limit)

    def trial(self, number: int) -> TrialDetail:
        """One trial with its learning curve, attempts and files."""
        return self._transport.get(f"{self._path}{route('trials', number)}", TrialDetail)

    def telemetry(self, number: int) -> Telemetry:
        """How a trial's training went inside, as its watch stored it last. Raises NotFound: it was not watched."""
        return self._transport.get(route("trials", self.trial(number).id, "telemetry"), Telemetry)

    def best(self) -> TrialView | None:
        """The best trial so far; None before the first value, and where there are several objectives: see `front`."""
        return self.view().best

    def findings(self, *, timeout_s: float = 120.0) -> StudyFindings:
        """What its trials show: findings, which parameters matter, and what the trials to come would gain.

        It takes the master a second or more. After `timeout_s` you get what is known by then, with `renewing` set.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            wait_s = min(FINDINGS_WAIT_S, max(0.0, deadline - time.monotonic()))
            found = self._transport.get(f"{self._path}/findings", StudyFindings, query={"wait_s": wait_s})
            if not found.renewing or wait_s == 0.0:
                return found

    def look(self) -> StudyLook:
        """Samples of the probe set across the best trials: where they differ, and where all are wrong.

        Raises:
            NotFound: no complete trial has stored predictions.
        """
        return self._transport.get(f"{self._path}/look", StudyLook)

    def look_at(self, number: int) -> TrialLook:
        """What a trial's model is right and wrong about; raises NotFound when it has stored no predictions."""
        return self._transport.get(route("trials", self.trial(number).id, "look"), TrialLook)

    def label_errors(self, *, count: int = 50) -> LabelLook:
        """Samples whose labels may be wrong, by what trials say that were not trained on them.

        Raises:
            NotFound: no complete trial has stored predictions.
        """
        return self._transport.get(f"{self._path}/labels", LabelLook, query={"count": count})

    def trial_findings(self, number: int) -> TrialFindings:
        """What the curves of one trial show: whether it diverged, overfits, was too short, and what to do."""
        return self._transport.get(route("trials", self.trial(number).id, "findings"), TrialFindings)

    def front(self) -> list[TrialView]:
        """With several objectives: the trials that no other one betters in all of them, and that break no outcome.

        The best in the first objective come first; `values` of each has all of its values.

        Raises:
            Conflict: the study has one objective.
        """
        return self._all("front", Page[TrialView])

    def configurations(self) -> list[ConfigurationView]:
        """With folds: each configuration with its folds and the mean over them, the best of the complete ones first.

        Raises:
            Conflict: the study has no folds.
        """
        return self._all("configurations", Page[ConfigurationView])

    def add(self, **params: JsonValue) -> TrialView:
        """Queue a configuration by hand, such as `study.add(lr=0.1)`; it runs before what the sampler proposes.

        Raises:
            InvalidInput: it is not in the space.
            DuplicateConfiguration: the study has it.
            BudgetTaken: the budget has no trial left.
        """
        body = EnqueueRequest(params=[params])
        return self._transport.post(f"{self._path}/trials", body, answer=list[TrialView])[0]

    def pause(self) -> StudyDetail:
        """Start no more trials; those that run go on."""
        return self._patch(StudyPatch(state="paused"))

    def resume(self, *, anyway: bool = False) -> StudyDetail:
        """Go on after `pause`. A study that its preflight has blocked is looked at once more, or goes on `anyway`."""
        return self._patch(StudyPatch(state="running", anyway=anyway))

    def stop(self) -> StudyDetail:
        """End the study now; waiting trials are cancelled, those that run are told to stop."""
        return self._patch(StudyPatch(state="stopped"))

    def edit(
        self,
        *,
        trials: int | None = None,
        hours: float | None = None,
        priority: int | None = None,
        space: Mapping[str, JsonValue] | None = None,
    ) -> StudyDetail:
        """Change the budget, the priority or the space; what is not given stays.

        `space` has the parameters that change, as a study's file has them: `{"lr": {"log": [1e-5, 1.0]}}`. Finished
        trials stay; those outside the new space are no evidence for samplers any more.

        Raises:
            InvalidInput: the study has no such parameter, or none can be like this.
            Conflict: trials run outside the new space.
        """
        changes: dict[str, object] = {}
        if trials is not None or hours is not None:
            now = self.view().budget
            changes["budget"] = Budget(
                trials=now.trials if trials is None else trials, hours=now.hours if hours is None else hours
            )
        if priority is not None:
            changes["priority"] = priority
        if space is not None:
            changes["space"] = dict(space)
        return self._patch(StudyPatch.parse(changes))

    def retry(self, *failures: Failure | str) -> list[int]:
        """Run failed trials again: all of them, or those with one of these failures; gives their numbers."""
        chosen = [Failure(failure) for failure in failures] or None
        return self._transport.post(f"{self._path}/retry", RetryRequest(failures=chosen), answer=RetryResponse).numbers

    def delete(self) -> None:
        """Delete the study with its trials and their files. Raises Conflict while it runs."""
        self._transport.delete(self._path)

    def wait(
        self, progress: Callable[[StudyDetail], None] | None = None, *, timeout_s: float | None = None
    ) -> StudyDetail:
        """Wait until the study is over; see `is_over`.

        Args:
            progress: called with every look at the study, about once a second.
            timeout_s: how long to wait at most.

        Raises:
            TimeoutError: the study is not over in time.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        poll_s = FIRST_POLL_S
        while True:
            view = self.view()
            if progress is not None:
                progress(view)
            if is_over(view):
                return view
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"study {self.name} is {view.state} after {timeout_s:g} s")
            self._transport.wait(poll_s)
            poll_s = min(poll_s * 1.5, MAX_POLL_S)

    def download_best(self, folder: Path | str) -> list[Path]:
        """Fetch the files of the best trial (its model; no checkpoints and logs) into a folder.

        Raises:
            NotFound: no trial has a value, or the best one has no files.
        """
        view = self.view()
        if view.best is None:
            raise no_best_error(view)
        return self.download(view.best.number, folder)

    def download(self, number: int, folder: Path | str) -> list[Path]:
        """The same for any trial."""
        trial = self.trial(number)
        wanted = [artifact for artifact in trial.artifacts if not artifact.name.startswith(RUN_FILE_PREFIXES)]
        if not wanted:
            raise NotFound(
                f"Trial {number} of {self.name} has no files.",
                hint="A function keeps them with trial.save(name, path), or with trial.epochs(model=...).",
            )
        paths = [Path(folder) / artifact.name for artifact in wanted]
        for artifact, path in zip(wanted, paths, strict=True):
            download(self._transport, artifact, path, trial_id=trial.id)
        return paths

    def fetch(self, trial: TrialDetail, name: str, *, to: Path) -> None:
        """Fetch one file of a trial, with its hash checked. Raises NotFound when the trial has none of the name."""
        artifact = next((one for one in trial.artifacts if one.name == name), None)
        if artifact is None:
            known = ", ".join(one.name for one in trial.artifacts) or "none"
            raise NotFound(f"Trial {trial.number} of {self.name} has no file {name!r}; it has {known}.")
        download(self._transport, artifact, to, trial_id=trial.id)

    def events(self, after: int = 0) -> Iterator[Event]:
        """What happens in the study, from the beginning or behind an event's id, for as long as you read."""
        return follow(self._transport, self.name, after=after)

    @contextmanager
    def claim(self, worker: str | None = None, *, wait_s: float = MAX_WAIT_S) -> Iterator[ClaimedTrial | None]:
        """Take one trial for the length of a `with` block; None when nothing came up within `wait_s` (at most 25 s).

        See ClaimedTrial for what the end of the block does.
        """
        trial = claim_trial(self._transport, claim_request(self.view().spec, worker=worker, wait_s=wait_s))
        if trial is None:
            yield None
            return
        with trial:
            yield trial

    def claims(self, worker: str | None = None) -> Iterator[ClaimedTrial]:
        """One trial after the other until the study is over, each one for a `with` block of its own.

        for trial in study.claims():
            with trial:
                trial.report(loss=train(**trial.params))
        """
        while not is_over(view := self.view()):
            trial = claim_trial(self._transport, claim_request(view.spec, worker=worker, wait_s=CLAIM_WAIT_S))
            if trial is not None:
                yield trial

    def _all(self, part: str, kind: type[Page[T]]) -> list[T]:
        """All pages of a list."""
        found: list[T] = []
        cursor: str | None = None
        while True:
            page = self._transport.get(f"{self._path}/{part}", kind, query={"cursor": cursor, "limit": PAGE_SIZE})
            found += page.items
            cursor = page.next
            if cursor is None:
                return found

    def _patch(self, patch: StudyPatch) -> StudyDetail:
        return self._transport.patch(self._path, patch, answer=StudyDetail)


def is_over(view: StudyDetail) -> bool:
    """Whether nothing more happens by itself: complete, stopped, blocked, or paused by the master for a reason that it
    tells.
    """
    return view.state in STUDY_OVER | {StudyState.BLOCKED} or (view.state is StudyState.PAUSED and bool(view.message))


def has_result(view: StudyView) -> bool:
    """Whether a trial has a value; with several objectives, whether one is complete."""
    return bool(view.trials.get(TrialState.COMPLETE)) if view.objectives else view.best is not None


def no_best_error(view: StudyDetail) -> NotFound:
    """Why a study has no best trial, and what to do about it."""
    name, failed = view.name, view.trials.get(TrialState.FAILED, 0)
    if view.objectives:
        hint = f"See the trials that no other one betters: tunefleet front {name}"
        return NotFound(f"No trial of {name} is the best: it has several objectives.", hint=hint)
    if not is_over(view):
        if view.unclaimed:
            return NotFound(f"No trial of {name} has a value yet: no worker takes its trials.", hint=view.unclaimed)
        return NotFound(f"No trial of {name} has a value yet.", hint=f"See how it goes: tunefleet watch {name}")
    if failed:
        hint = f"See why: tunefleet trials {name} --state failed. Run them again: tunefleet retry {name} --failed"
        return NotFound(f"No trial of {name} has a value: {failed} failed, and the study is {view.state}.", hint=hint)
    return NotFound(f"No trial of {name} has a value, and the study is {view.state}.")

"""A study on a master: read, change and await it, download its best model, and run its trials in your own process."""

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
FINDINGS_WAIT_S = 10.0  # for each call
CLAIM_WAIT_S = 5.0  # a loop of claims notices the end of its study within this time
LOG_NAME = "log.txt"
RUN_FILE_PREFIXES = ("checkpoint", "log", "telemetry")
"""Prefixes of the names of files that a trial needs to run; all other files are its result."""

T = TypeVar("T")


class Study:
    """A study on a master, from `Client.submit` or `Client.study`. Nothing is cached: every call asks the master."""

    def __init__(self, transport: Transport, name: str) -> None:
        self.name = name
        self._transport = transport
        self._path = route("studies", name)

    def __repr__(self) -> str:
        """Return a text with the study's name."""
        return f"Study({self.name!r})"

    def view(self) -> StudyDetail:
        """Return the study's current state, trials by state, best trial and spec."""
        return self._transport.get(self._path, StudyDetail)

    def trials(
        self, state: TrialState | str | None = None, sort: str = "number", *, limit: int | None = None
    ) -> Trials:
        """Return the study's trials as a sequence; see Trials for `state`, `sort` and `limit`."""
        return Trials(self._transport, self.name, state=state, sort=sort, limit=limit)

    def trial(self, number: int) -> TrialDetail:
        """Return one trial with its learning curve, attempts and files."""
        return self._transport.get(f"{self._path}{route('trials', number)}", TrialDetail)

    def telemetry(self, number: int) -> Telemetry:
        """Return a trial's latest training telemetry. Raises NotFound when the trial has none."""
        return self._transport.get(route("trials", self.trial(number).id, "telemetry"), Telemetry)

    def best(self) -> TrialView | None:
        """Return the best trial so far; None before the first value and with several objectives (see `front`)."""
        return self.view().best

    def findings(self, *, timeout_s: float = 120.0) -> StudyFindings:
        """Return the study's findings, the importance of its parameters, and the expected gain of further trials.

        The master needs a second or more. After `timeout_s` the call returns the last known findings, with `renewing`
        set.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            wait_s = min(FINDINGS_WAIT_S, max(0.0, deadline - time.monotonic()))
            found = self._transport.get(f"{self._path}/findings", StudyFindings, query={"wait_s": wait_s})
            if not found.renewing or wait_s == 0.0:
                return found

    def look(self) -> StudyLook:
        """Return samples of the probe set on which the best trials' models disagree or are all wrong.

        Raises:
            NotFound: no complete trial has stored predictions.
        """
        return self._transport.get(f"{self._path}/look", StudyLook)

    def look_at(self, number: int) -> TrialLook:
        """Return samples that a trial's model predicts best and worst. Raises NotFound without stored predictions."""
        return self._transport.get(route("trials", self.trial(number).id, "look"), TrialLook)

    def label_errors(self, *, count: int = 50) -> LabelLook:
        """Return samples with suspicious labels, by the predictions of trials that were not trained on them.

        Raises:
            NotFound: no complete trial has stored predictions.
        """
        return self._transport.get(f"{self._path}/labels", LabelLook, query={"count": count})

    def trial_findings(self, number: int) -> TrialFindings:
        """Return the findings on one trial's curves, such as divergence, overfitting or too few steps, and remedies."""
        return self._transport.get(route("trials", self.trial(number).id, "findings"), TrialFindings)

    def front(self) -> list[TrialView]:
        """Return the Pareto front of a study with several objectives, without trials that violate an outcome.

        The trials are ordered by the first objective, the best first; `values` has a trial's value of each objective.

        Raises:
            Conflict: the study has one objective.
        """
        return self._all("front", Page[TrialView])

    def configurations(self) -> list[ConfigurationView]:
        """Return each configuration of a study with folds, with its folds and their mean; the best complete one first.

        Raises:
            Conflict: the study has no folds.
        """
        return self._all("configurations", Page[ConfigurationView])

    def add(self, **params: JsonValue) -> TrialView:
        """Queue a configuration of your own, such as `study.add(lr=0.1)`; it runs before the sampler's proposals.

        Raises:
            InvalidInput: the configuration is not in the space.
            DuplicateConfiguration: the study already has the configuration.
            BudgetTaken: the budget has no trial left.
        """
        body = EnqueueRequest(params=[params])
        return self._transport.post(f"{self._path}/trials", body, answer=list[TrialView])[0]

    def pause(self) -> StudyDetail:
        """Start no more trials; running trials continue."""
        return self._patch(StudyPatch(state="paused"))

    def resume(self, *, anyway: bool = False) -> StudyDetail:
        """Continue after `pause`. For a blocked study, repeat the preflight, or with `anyway` run without it."""
        return self._patch(StudyPatch(state="running", anyway=anyway))

    def stop(self) -> StudyDetail:
        """End the study now: cancel waiting trials and stop running ones."""
        return self._patch(StudyPatch(state="stopped"))

    def edit(
        self,
        *,
        trials: int | None = None,
        hours: float | None = None,
        priority: int | None = None,
        space: Mapping[str, JsonValue] | None = None,
    ) -> StudyDetail:
        """Change the budget, the priority or the space; arguments left out change nothing.

        `space` has the changed parameters in the syntax of a study's file: `{"lr": {"log": [1e-5, 1.0]}}`. Finished
        trials stay, but samplers ignore those outside the new space.

        Raises:
            InvalidInput: the study has no such parameter, or the new parameter is invalid.
            Conflict: trials outside the new space are running.
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
        """Run failed trials again, all or only those with one of these failures; return their numbers."""
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
            progress: called with the study's current view, about once a second.
            timeout_s: the longest wait.

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
        """Download the best trial's files (its model, without checkpoints and logs) into a folder.

        Raises:
            NotFound: no trial has a value, or the best one has no files.
        """
        view = self.view()
        if view.best is None:
            raise no_best_error(view)
        return self.download(view.best.number, folder)

    def download(self, number: int, folder: Path | str) -> list[Path]:
        """Download a trial's files, as `download_best` does. Raises NotFound when it has none."""
        trial = self.trial(number)
        wanted = [artifact for artifact in trial.artifacts if not artifact.name.startswith(RUN_FILE_PREFIXES)]
        if not wanted:
            raise NotFound(
                f"Trial {number} of {self.name} has no files.",
                hint="A function stores files with trial.save(name, path), or with trial.epochs(model=...).",
            )
        paths = [Path(folder) / artifact.name for artifact in wanted]
        for artifact, path in zip(wanted, paths, strict=True):
            download(self._transport, artifact, path, trial_id=trial.id)
        return paths

    def fetch(self, trial: TrialDetail, name: str, *, to: Path) -> None:
        """Download one file of a trial and check its hash. Raises NotFound when the trial has no file of this name."""
        artifact = next((one for one in trial.artifacts if one.name == name), None)
        if artifact is None:
            known = ", ".join(one.name for one in trial.artifacts) or "none"
            raise NotFound(f"Trial {trial.number} of {self.name} has no file {name!r}; it has {known}.")
        download(self._transport, artifact, to, trial_id=trial.id)

    def events(self, after: int = 0) -> Iterator[Event]:
        """Yield the study's events after the event id `after` (0: all events) without end."""
        return follow(self._transport, self.name, after=after)

    @contextmanager
    def claim(self, worker: str | None = None, *, wait_s: float = MAX_WAIT_S) -> Iterator[ClaimedTrial | None]:
        """Claim one trial for a `with` block; None when no trial is available within `wait_s` (at most 25 s).

        ClaimedTrial documents the end of the block.
        """
        trial = claim_trial(self._transport, claim_request(self.view().spec, worker=worker, wait_s=wait_s))
        if trial is None:
            yield None
            return
        with trial:
            yield trial

    def claims(self, worker: str | None = None) -> Iterator[ClaimedTrial]:
        """Claim one trial after the other until the study is over, each for a `with` block of its own.

        for trial in study.claims():
            with trial:
                trial.report(loss=train(**trial.params))
        """
        while not is_over(view := self.view()):
            trial = claim_trial(self._transport, claim_request(view.spec, worker=worker, wait_s=CLAIM_WAIT_S))
            if trial is not None:
                yield trial

    def _all(self, part: str, kind: type[Page[T]]) -> list[T]:
        """Return the items of all pages of a list."""
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
    """Return True when the study does not continue by itself: complete, stopped, blocked, or paused by the master."""
    return view.state in STUDY_OVER | {StudyState.BLOCKED} or (view.state is StudyState.PAUSED and bool(view.message))


def has_result(view: StudyView) -> bool:
    """Return True when a trial has a value or, with several objectives, when a trial is complete."""
    return bool(view.trials.get(TrialState.COMPLETE)) if view.objectives else view.best is not None


def no_best_error(view: StudyDetail) -> NotFound:
    """Return the error that explains why a study has no best trial, with a hint."""
    name, failed = view.name, view.trials.get(TrialState.FAILED, 0)
    if view.objectives:
        hint = f"See the Pareto front, the trials that no other trial beats in every objective: tunefleet front {name}"
        return NotFound(f"{name} has several objectives, so no single trial is the best.", hint=hint)
    if not is_over(view):
        if view.unclaimed:
            return NotFound(f"No trial of {name} has a value yet: no worker takes its trials.", hint=view.unclaimed)
        return NotFound(f"No trial of {name} has a value yet.", hint=f"See its progress: tunefleet watch {name}")
    if failed:
        hint = f"See why: tunefleet trials {name} --state failed. Run them again: tunefleet retry {name} --failed"
        return NotFound(f"No trial of {name} has a value: {failed} failed, and the study is {view.state}.", hint=hint)
    return NotFound(f"No trial of {name} has a value, and the study is {view.state}.")

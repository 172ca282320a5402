"""Run a study's training function on a few samples, and say what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import JsonValue
from torch.utils._pytree import tree_leaves

from tunefleet.protocol import Lease
from tunefleet.protocol.preflight import BranchReport, Check, PreflightOrder, PreflightReport
from tunefleet.study.spec import TaskRun
from tunefleet.trial.seeding import seed_everything
from tunefleet_worker.checkpoints import CheckpointError
from tunefleet_worker.preflight.checks import CheckScope, RunFacts, check_run, compare_with_blind, reloaded
from tunefleet_worker.preflight.losses import LossRecorder
from tunefleet_worker.preflight.trial import PreflightDone, PreflightTrial, RunPlan

RATE_MAY_CURE = frozenset({"overfit", "finite", "moved"})
"""What another learning rate may do away with; the rest stays as it is at any."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A function that is looked at.

    Attributes:
        function: the training function.
        lease: of the preflight.
        order: what is asked for.
        folder: for its files.
        device: where it trains.
        check: raises TrialStopped when the worker should leave off.
    """

    function: Callable[..., object]
    lease: Lease
    order: PreflightOrder
    folder: Path
    device: Literal["cpu", "cuda"]
    check: Callable[[], None]

    def report(self) -> PreflightReport:
        """Look at every branch. What the function raises goes on its way, and so does TrialStopped."""
        began = time.monotonic()
        branches = [self._branch(tries) for tries in self.order.branches]
        return PreflightReport(took_s=round(time.monotonic() - began, 3), branches=branches)

    @property
    def _asked(self) -> CheckScope:
        is_task = isinstance(self.lease.run, TaskRun)
        return CheckScope(self.order.samples, self.lease.objective.metric, is_task)

    def _branch(self, tries: list[dict[str, JsonValue]]) -> BranchReport:
        best: tuple[_Run, list[Check]] | None = None
        for i, params in enumerate(tries):
            state = self.folder / f"preflight-{i}.safetensors"
            run = self._run(RunPlan(params, self.lease.seed, self.order.samples, self.order.updates, state))
            checks = check_run(run.seen, self._asked)
            wrong = {check.code for check in checks if check.blocks and not check.passed}
            if best is None or not wrong or _is_further(run.seen, best[0].seen):
                best = run, checks
            if not wrong <= RATE_MAY_CURE or not wrong:
                best = run, checks
                break
        assert best is not None
        run, checks = best
        if all(check.passed or not check.blocks or check.code == "overfit" for check in checks):
            checks = [*checks, *self._seen_blind(run)]
        return BranchReport(params=dict(run.params), checks=checks)

    def _seen_blind(self, run: _Run) -> list[Check]:
        """What a second run shows: a new model is loaded as a resumed trial's is, and then trained without inputs."""
        reload = None if run.state is None or run.outputs is None else (run.state, run.example)
        blind = self._run(
            RunPlan(
                run.params,
                self.lease.seed + 1,  # so that weights which were not loaded are other ones
                self.order.samples,
                max(run.seen.n_updates, 1),
                is_blind=True,
                reload=reload,
            )
        )
        checks = [] if run.fault is None else [reloaded(run.fault, is_same=False)]
        if reload is not None or blind.fault:
            checks = [reloaded(blind.fault or "", is_same=_are_same(run.outputs, blind.reloaded))]
        return [
            *checks,
            *(compare_with_blind(run.seen, blind.seen, asked=self._asked) if run.example is not None else ()),
        ]

    def _run(self, plan: RunPlan) -> _Run:
        seed_everything(plan.seed)
        with LossRecorder() as losses:
            trial = PreflightTrial(
                self.lease, plan, losses=losses, folder=self.folder, device=self.device, check=self.check
            )
            try:
                self.function(trial, **plan.params)
            except PreflightDone:
                pass
            finally:
                trial.close()
        return _Run.of(trial, plan)


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of the function; what a second one is compared with."""

    params: Mapping[str, JsonValue]
    seen: RunFacts
    state: Path | None
    example: Any
    outputs: Any
    reloaded: Any
    fault: str | None

    @classmethod
    def of(cls, trial: PreflightTrial, plan: RunPlan) -> _Run:
        state, fault = None, trial.outcome.fault or None
        if not plan.is_blind:
            try:
                state = trial.save_state()
            except CheckpointError as error:
                fault = str(error)
        outputs = None if plan.is_blind else trial.looked.outputs()
        return cls(plan.params, _seen(trial), state, trial.looked.example, outputs, trial.outcome.reloaded, fault)


def _seen(trial: PreflightTrial) -> RunFacts:
    watch, outcome = trial.looked, trial.outcome
    return RunFacts(
        progress=outcome.progress,
        metrics=outcome.metrics,
        judged=outcome.judged,
        n_trained=outcome.n_trained,
        n_updates=trial.n_updates,
        is_finite=trial.losses.is_finite,
        gets_probabilities=trial.losses.gets_probabilities,
        has_optimizer=watch.has_optimizer,
        inputs_are_alike=watch.inputs_are_alike,
        frozen=watch.frozen,
        unreached=watch.unreached,
        unmoved=watch.unmoved,
        not_held=watch.not_held,
        stale=watch.stale,
        idle_statistics=watch.idle_statistics,
    )


def _is_further(one: RunFacts, other: RunFacts) -> bool:
    """Whether a run came further than another one of the same branch."""
    mine, its = one.progress, other.progress
    if not (mine.measure and its.measure):
        return bool(mine.measure)
    return mine.best < its.best if mine.measure == "loss" else mine.best > its.best


def _are_same(outputs: Any, others: Any) -> bool:
    mine, its = tree_leaves(outputs), tree_leaves(others)
    return len(mine) == len(its) and all(map(_is_same, mine, its))


def _is_same(one: Any, other: Any) -> bool:
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return type(one) is type(other)
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)

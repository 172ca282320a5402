"""The inspection: run a study's training function on a few samples, and report its faults."""

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
from tunefleet_worker.preflight.checks import CheckScope, RunFacts, check_reload, check_run, compare_with_blind
from tunefleet_worker.preflight.losses import LossRecorder
from tunefleet_worker.preflight.trial import PreflightDone, PreflightTrial, RunPlan

RATE_MAY_CURE = frozenset({"overfit", "finite", "moved"})
"""Faults that another learning rate may cure."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """The inspection of a training function.

    Attributes:
        function: the training function.
        lease: the preflight's lease.
        order: the preflight's order.
        folder: the folder for its files.
        device: the device to train on.
        check: raises TrialStopped when the worker should stop.
    """

    function: Callable[..., object]
    lease: Lease
    order: PreflightOrder
    folder: Path
    device: Literal["cpu", "cuda"]
    check: Callable[[], None]

    def report(self) -> PreflightReport:
        """Inspect every branch. Errors of the function and TrialStopped propagate."""
        began = time.monotonic()
        branches = [self._branch(tries) for tries in self.order.branches]
        return PreflightReport(took_s=round(time.monotonic() - began, 3), branches=branches)

    @property
    def _scope(self) -> CheckScope:
        is_task = isinstance(self.lease.run, TaskRun)
        return CheckScope(self.order.samples, self.lease.objective.metric, is_task)

    def _branch(self, tries: list[dict[str, JsonValue]]) -> BranchReport:
        best: tuple[_Run, list[Check]] | None = None
        for i, params in enumerate(tries):
            state = self.folder / f"preflight-{i}.safetensors"
            run = self._run(RunPlan(params, self.lease.seed, self.order.samples, self.order.updates, state))
            checks = check_run(run.facts, self._scope)
            wrong = {check.code for check in checks if check.blocks and not check.passed}
            if best is None or not wrong or _is_further(run.facts, best[0].facts):
                best = run, checks
            if not wrong <= RATE_MAY_CURE or not wrong:
                best = run, checks
                break
        assert best is not None
        run, checks = best
        if all(check.passed or not check.blocks or check.code == "overfit" for check in checks):
            checks = [*checks, *self._checks_of_blind_run(run)]
        return BranchReport(params=dict(run.params), checks=checks)

    def _checks_of_blind_run(self, run: _Run) -> list[Check]:
        """Return the checks of a second run: it loads the checkpoint as a resumed trial does, then trains on zeros."""
        reload = None if run.state is None or run.outputs is None else (run.state, run.example)
        blind = self._run(
            RunPlan(
                run.params,
                self.lease.seed + 1,  # so that weights that are not loaded differ
                self.order.samples,
                max(run.facts.n_updates, 1),
                is_blind=True,
                reload=reload,
            )
        )
        checks = [] if run.fault is None else [check_reload(run.fault, is_same=False)]
        if reload is not None or blind.fault:
            checks = [check_reload(blind.fault or "", is_same=_are_same(run.outputs, blind.reloaded))]
        return [
            *checks,
            *(compare_with_blind(run.facts, blind.facts, scope=self._scope) if run.example is not None else ()),
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
    """The results of one run, for a comparison with a second one."""

    params: Mapping[str, JsonValue]
    facts: RunFacts
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
        outputs = None if plan.is_blind else trial.model_recorder.outputs()
        return cls(
            plan.params, _facts(trial), state, trial.model_recorder.example, outputs, trial.outcome.reloaded, fault
        )


def _facts(trial: PreflightTrial) -> RunFacts:
    recorder, outcome = trial.model_recorder, trial.outcome
    return RunFacts(
        progress=outcome.progress,
        metrics=outcome.metrics,
        evaluated=outcome.evaluated,
        n_trained=outcome.n_trained,
        n_updates=trial.n_updates,
        is_finite=trial.losses.is_finite,
        gets_probabilities=trial.losses.gets_probabilities,
        has_optimizer=recorder.has_optimizer,
        inputs_are_alike=recorder.inputs_are_alike,
        frozen=recorder.frozen,
        unreached=recorder.unreached,
        unmoved=recorder.unmoved,
        not_held=recorder.not_held,
        stale=recorder.stale,
        idle_statistics=recorder.idle_statistics,
    )


def _is_further(one: RunFacts, other: RunFacts) -> bool:
    """Return True if a run made more progress than another one of the same branch."""
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

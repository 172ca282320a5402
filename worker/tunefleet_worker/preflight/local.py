"""The preflight of a study file in this process, without a master."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Literal

import torch

from tunefleet.client.study_file import load_checked_study
from tunefleet.errors import TunefleetError
from tunefleet.names import TrialId
from tunefleet.protocol import Lease
from tunefleet.protocol.preflight import PREFLIGHT_NUMBER, PreflightOrder, PreflightReport
from tunefleet.study.preflight_configurations import preflight_configurations
from tunefleet.study.spec import Preflight, StudySpec
from tunefleet.study.stages import steps_of
from tunefleet_worker.failures import end_of_exception
from tunefleet_worker.loader import check_signature, load_local
from tunefleet_worker.preflight.inspection import Inspection


class FunctionFailed(TunefleetError):
    """The study's function raised during the preflight."""

    code = "function_failed"


def inspect_file(file: Path) -> PreflightReport:
    """Run the preflight of a study as a worker does; the function's output goes to stderr.

    Raises:
        InvalidInput: the study is not valid, or runs a command. FunctionFailed: its function raised.
    """
    spec = load_checked_study(file)
    with tempfile.TemporaryDirectory(prefix="tunefleet-preflight-") as folder, contextlib.redirect_stdout(sys.stderr):
        return _report(spec, Path(folder))


def _report(spec: StudySpec, folder: Path) -> PreflightReport:
    asked = spec.preflight or Preflight()
    order = PreflightOrder(samples=asked.samples, updates=asked.updates, branches=preflight_configurations(spec))
    code = None if getattr(spec.run, "code", None) is None else Path(spec.run.code)  # type: ignore[union-attr, arg-type]
    try:
        function = load_local(spec)
        for tries in order.branches:
            check_signature(function, tries[0], target=spec.run.model_dump().get("function", "the task"))
        device = _device()
        return Inspection(function, _lease(spec, order), order, folder=folder, device=device, check=_go_on).report()
    except TunefleetError:
        raise
    except Exception as error:
        traceback.print_exception(error)
        raise FunctionFailed(f"the study's function failed: {end_of_exception(error, code).message}") from error


def _lease(spec: StudySpec, order: PreflightOrder) -> Lease:
    return Lease(
        trial_id=TrialId(0),
        attempt=1,
        study=spec.name,
        number=PREFLIGHT_NUMBER,
        params={},
        seed=spec.search.seed,
        steps=steps_of(spec, 0),
        run=spec.run,
        data=spec.data,
        objective=spec.objective,
        trial_timeout_s=None,
        resume=None,
        preflight=order,
    )


def _device() -> Literal["cpu", "cuda"]:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _go_on() -> None:
    """Do nothing: there is no agent that gives orders."""

"""Training of fault cases in parallel; finished runs are read from a folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fault_cases.fault_case import FaultCase

Curve = list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A finished training: its case, its curve, the typical update ratio of each weight tensor, its CPU seconds."""

    case: FaultCase
    curve: Curve
    update_ratios: dict[str, float]
    cpu_s: float


def run_cases(cases: Sequence[FaultCase], folder: Path, *, jobs: int) -> Iterator[RunRecord]:
    """Yield the record of each case, in order; print progress to stderr."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin) as pool:
        for i, record in enumerate(pool.map(_record_of, cases, [folder] * len(cases)), start=1):
            sys.stderr.write(f"\r{i} of {len(cases)} runs")
            sys.stderr.flush()
            yield record
    sys.stderr.write("\n")


def _begin() -> None:
    import torch

    torch.set_num_threads(1)


def _record_of(case: FaultCase, folder: Path) -> RunRecord:
    path = folder / f"{case.key}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if known.get("case") != json.loads(json.dumps(case.plain())):
        from benchmarks.fault_cases.training import trained

        began = time.process_time()
        curve, ratios = trained(case)
        known = {"case": case.plain(), "curve": curve, "ratios": ratios, "cpu_s": time.process_time() - began}
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(known))
        draft.replace(path)
    return RunRecord(case, known["curve"], known["ratios"], known["cpu_s"])

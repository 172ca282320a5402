"""Trains patients side by side, each once: what has been trained before is read from a folder."""

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

from benchmarks.fault_cases.runner import FaultCase

Curve = list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A patient, what its training reported, the typical ratio of each weight tensor, and what the training took."""

    patient: FaultCase
    curve: Curve
    update_ratios: dict[str, float]
    cpu_s: float


def charts(patients: Sequence[FaultCase], folder: Path, *, jobs: int) -> Iterator[RunRecord]:
    """All of them, in their order; tells on stderr how far it is."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin) as pool:
        for i, chart in enumerate(pool.map(_chart, patients, [folder] * len(patients)), start=1):
            sys.stderr.write(f"\r{i} of {len(patients)} runs")
            sys.stderr.flush()
            yield chart
    sys.stderr.write("\n")


def _begin() -> None:
    import torch

    torch.set_num_threads(1)


def _chart(patient: FaultCase, folder: Path) -> RunRecord:
    path = folder / f"{patient.key}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if known.get("patient") != json.loads(json.dumps(patient.plain())):
        from benchmarks.fault_cases.training import trained

        began = time.process_time()
        curve, ratios = trained(patient)
        known = {"patient": patient.plain(), "curve": curve, "ratios": ratios, "cpu_s": time.process_time() - began}
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(known))
        draft.replace(path)
    return RunRecord(patient, known["curve"], known["ratios"], known["cpu_s"])

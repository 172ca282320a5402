"""Finished trainings of the scripts in this folder, stored in compressed files in the repository."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunefleet.study.space import Configuration

Columns = dict[str, NDArray[np.float64]]


def write(file: Path, configurations: Sequence[Configuration], *, columns: Mapping[str, Sequence[object]]) -> None:
    """Keep configurations and their columns, one entry or one row of numbers for each.

    Half floats are exact to a thousandth of a number, which is less than one sample of 800. Above 65,504 they are
    infinite: such a loss has diverged.
    """
    text = np.frombuffer(json.dumps(list(configurations)).encode(), dtype=np.uint8)
    with np.errstate(over="ignore"):
        arrays = {name: np.array(column).astype(np.float16) for name, column in columns.items()}
    np.savez_compressed(file, allow_pickle=False, configurations=text, **arrays)


def read(file: Path) -> tuple[list[Configuration], Columns]:
    """The configurations, and each column."""
    with np.load(file) as stored:
        configurations = json.loads(stored["configurations"].tobytes())
        columns = {name: stored[name].astype(np.float64) for name in stored.files if name != "configurations"}
    return configurations, columns


def kept_rows(file: Path) -> list[dict[str, list[float]]]:
    """The rows of an interrupted run, in their order."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def keep_row(file: Path, row: Mapping[str, Sequence[float]]) -> None:
    """Add a row, so that an interrupted run need not make it again."""
    with file.open("a") as out:
        out.write(json.dumps(row) + "\n")


def columns_of(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """The rows, turned: one list for each column."""
    return {name: [row[name] for row in rows] for name in rows[0]}

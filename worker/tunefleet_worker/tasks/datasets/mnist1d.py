"""mnist1d: 4000 + 1000 noisy 1-d digits of 40 samples, generated (Greydanus and Kobak 2024, arXiv:2011.14439)."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunefleet_worker.tasks.datasets.source import DataUnavailable, Raw, Source

logger = logging.getLogger(__name__)

PARTS = {"train": ("x", "y"), "test": ("x_test", "y_test")}


def mnist1d() -> Source:
    """Return the data set of the package's own seed 42. The last 1000 samples are the official test part."""
    classes = tuple(str(digit) for digit in range(10))
    return Source("mnist1d", classes, open=partial(_read, "train"), open_test=partial(_read, "test"))


def _read(part: str) -> Raw:
    """Return one part, from the cache if possible: making it takes seconds, as long as a short trial."""
    path = cache_folder(os.environ) / f"mnist1d-{_version()}-{part}.safetensors"
    try:
        stored = load_file(path)
        return Raw(stored["values"], stored["labels"])
    except (OSError, SafetensorError, KeyError):
        made = _make()
        for name, tensors in made.items():
            _keep(path.with_name(path.name.replace(part, name)), tensors)
        return Raw(made[part]["values"], made[part]["labels"])


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder for generated data: TUNEFLEET_CACHE, or else the user's cache folder."""
    if folder := environ.get("TUNEFLEET_CACHE"):
        return Path(folder)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunefleet"


def _version() -> str:
    try:
        return importlib.metadata.version("mnist1d")
    except importlib.metadata.PackageNotFoundError as error:
        raise DataUnavailable(
            "the data set mnist1d is made by the package mnist1d, which is not installed here.",
            hint="Run: pip install 'tunefleet[worker]'",
        ) from error


def _make() -> dict[str, dict[str, Tensor]]:
    # Imported here, since it imports matplotlib, which takes seconds; once per machine.
    from mnist1d.data import get_dataset_args, make_dataset

    with _generators_untouched():
        made = make_dataset(get_dataset_args())
    return {
        part: {"values": torch.from_numpy(made[x].astype(np.float32)).unsqueeze(1), "labels": torch.from_numpy(made[y])}
        for part, (x, y) in PARTS.items()
    }


@contextmanager
def _generators_untouched() -> Iterator[None]:
    """Restore the global generators, which the package seeds, so that the cache does not change a trial's draws."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _keep(path: Path, tensors: dict[str, Tensor]) -> None:
    """Cache a part, if the folder can be written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft)
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        logger.warning("mnist1d is made anew in each trial, since %s cannot be written: %s", path, error)
        with suppress(OSError):
            draft.unlink(missing_ok=True)

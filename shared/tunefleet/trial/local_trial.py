"""A trial without a master, for a training function in a notebook, a debugger or a test."""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import JsonValue

from tunefleet.study.spec import DataSpec
from tunefleet.trial.seeding import seed_everything
from tunefleet.trial.trial import Assignment, Trial


class LocalTrial(Trial):
    """A trial that runs in this process, without a master: `train(LocalTrial(steps=20), lr=1e-3)`.

    It seeds the global generators on creation, as a worker does before it calls the function, so the same parameters
    and seed give the same curve. It stores reports in `reports` and prints one line for each step. It copies saved
    files into `folder`.

    Args:
        steps: the number of steps that `epochs` counts.
        seed: the seed for random, and for numpy and torch if they are imported.
        params: the value of `trial.params`, for functions that read it.
        data: the rules for dividing the data; by default those of a study. With folds, the trial is on the first fold;
            set `fold` for another.
        options: for a built-in task, all keys of `run` other than `task`.
        folder: the folder for saved files; by default a temporary folder that is deleted with the trial.

    Attributes:
        reports: (step, metrics) of each reported step, oldest first.
        quiet: True to print nothing from now on.
    """

    def __init__(
        self,
        steps: int | None = None,
        seed: int = 0,
        *,
        params: Mapping[str, JsonValue] = MappingProxyType({}),
        data: DataSpec | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
        folder: Path | str | None = None,
    ) -> None:
        super().__init__(
            _assignment(params, seed=seed, steps=steps, data=data or DataSpec(), options=options),
            device=_device(),
            folder=self._temporary_folder() if folder is None else Path(folder),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.quiet = False
        self._open = False  # a step is running, so its line is not final
        self._n_printed = 0
        seed_everything(seed)

    def _temporary_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="tunefleet-local-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _begin(self, count: int, stateful: Mapping[str, Any]) -> int:
        self._open = True
        return 0

    def _between(self, step: int, count: int, stateful: Mapping[str, Any]) -> None:
        self._print(len(self.reports))
        self._open = step < count - 1

    def _record(self, step: int, metrics: dict[str, float]) -> None:
        if self.reports and self.reports[-1][0] == step:
            self.reports[-1] = (step, metrics)
            self._n_printed = min(self._n_printed, len(self.reports) - 1)
        else:
            self.reports.append((step, metrics))
        self._print(len(self.reports) - 1 if self._open else len(self.reports))

    def _keep(self, name: str, file: Path) -> None:
        target = self.folder / name
        if not (target.exists() and target.samefile(file)):
            shutil.copyfile(file, target)

    def _print(self, until: int) -> None:
        """Print the reports before index `until` that were not printed yet."""
        for step, metrics in self.reports[self._n_printed : until]:
            if not self.quiet:
                of = f"/{self.steps}" if self.steps else ""
                print(f"step {step + 1}{of}  " + "  ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
        self._n_printed = max(self._n_printed, until)


def _assignment(params: Mapping[str, JsonValue], *, data: DataSpec, **others: Any) -> Assignment:
    return Assignment(params=params, data=data, fold=0 if data.folds > 1 else None, **others)


def _device() -> Literal["cpu", "cuda"]:
    torch = sys.modules.get("torch")
    return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"

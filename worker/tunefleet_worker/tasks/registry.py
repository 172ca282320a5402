"""The built-in tasks by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tunefleet.errors import NotFound
from tunefleet.model import did_you_mean

TASK_MODULES: Mapping[str, str] = MappingProxyType(
    {"image_classification": "tunefleet_worker.tasks.image_classification"}
)
"""The module of each task, imported when the task is run; the function in it has the task's name."""


def load_task(name: str) -> Callable[..., object]:
    """The training function of a task; call it with the trial and the configuration's parameters by name.

    Raises:
        NotFound: there is no such task.
    """
    if name not in TASK_MODULES:
        raise NotFound(f"there is no task {name!r}{did_you_mean(name, list(TASK_MODULES))}.")
    function: Any = getattr(importlib.import_module(TASK_MODULES[name]), name)
    return function  # type: ignore[no-any-return]

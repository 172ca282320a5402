"""Built-in tasks by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from tunefleet.catalogue.tasks import TASKS
from tunefleet.errors import NotFound
from tunefleet.model import did_you_mean


def load_task(name: str) -> Callable[..., object]:
    """Import `tunefleet_worker/tasks/NAME.py` and return its function NAME.

    Call the function with the trial and the parameters of the configuration by name.

    Raises:
        NotFound: there is no such task.
    """
    if name not in TASKS:
        raise NotFound(f"there is no task {name!r}{did_you_mean(name, list(TASKS))}.")
    function: Any = getattr(importlib.import_module(f"{__package__}.{name}"), name)
    return function  # type: ignore[no-any-return]

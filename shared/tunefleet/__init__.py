"""Tunefleet: what the master, the workers and a user's own code all import.

>>> import tunefleet
>>> study = tunefleet.Client().submit("study.yaml")
>>> study.wait().best()

Names are imported when they are first used, so that `import tunefleet` (and with it `tunefleet --help`) costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tunefleet.claim import ClaimedTrial
    from tunefleet.client import Client
    from tunefleet.errors import TunefleetError
    from tunefleet.local import LocalTrial
    from tunefleet.protocol import StudyState, TrialState
    from tunefleet.spec import StudySpec
    from tunefleet.study import Study
    from tunefleet.study_file import load_study
    from tunefleet.trial import Trial, TrialStopped
    from tunefleet.trials import Trials

_HOMES = {
    "ClaimedTrial": "claim",
    "Client": "client",
    "LocalTrial": "local",
    "Study": "study",
    "StudySpec": "spec",
    "StudyState": "protocol",
    "Trial": "trial",
    "TrialState": "protocol",
    "TrialStopped": "trial",
    "Trials": "trials",
    "TunefleetError": "errors",
    "load_study": "study_file",
}

__all__ = [
    "ClaimedTrial",
    "Client",
    "LocalTrial",
    "Study",
    "StudySpec",
    "StudyState",
    "Trial",
    "TrialState",
    "TrialStopped",
    "Trials",
    "TunefleetError",
    "__version__",
    "load_study",
]


def __getattr__(name: str) -> object:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tunefleet' has no attribute {name!r}")
    return getattr(import_module(f"tunefleet.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__

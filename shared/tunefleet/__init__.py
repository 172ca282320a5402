"""Tunefleet: the package that the master, the workers and a user's own code import.

>>> import tunefleet
>>> study = tunefleet.Client().submit("study.yaml")
>>> study.wait().best()

Names are imported on first use, so that `import tunefleet` and `tunefleet --help` are fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tunefleet.client.claimed_trial import ClaimedTrial
    from tunefleet.client.client import Client
    from tunefleet.client.study import Study
    from tunefleet.client.study_file import load_study
    from tunefleet.client.trials import Trials
    from tunefleet.errors import TunefleetError
    from tunefleet.protocol import StudyState, TrialState
    from tunefleet.study.spec import StudySpec
    from tunefleet.trial.local_trial import LocalTrial
    from tunefleet.trial.trial import Trial, TrialStopped

_HOMES = {
    "ClaimedTrial": "client.claimed_trial",
    "Client": "client.client",
    "LocalTrial": "trial.local_trial",
    "Study": "client.study",
    "StudySpec": "study.spec",
    "StudyState": "protocol",
    "Trial": "trial.trial",
    "TrialState": "protocol",
    "TrialStopped": "trial.trial",
    "Trials": "client.trials",
    "TunefleetError": "errors",
    "load_study": "client.study_file",
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
    """Return the public names."""
    return __all__

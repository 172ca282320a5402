"""The compared methods by name: ours, such as `tpe` or `tpe+asha`, and the peers', such as `optuna-tpe`."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.search_quality import hyperopt_peer, optuna_peer, smac_peer, syne_tune_peer
from benchmarks.search_quality.peer import Builder, Setting

import tunefleet_master
from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import did_you_mean
from tunefleet.study.space import Space
from tunefleet.study.spec import StudySpec
from tunefleet_master.pruning import registry as pruners
from tunefleet_master.search import registry as samplers
from tunefleet_master.simulation.study import SimulatedStudy
from tunefleet_master.simulation.tuner import Tuner

PEERS: dict[str, Builder] = {
    **optuna_peer.CONTESTANTS,
    **hyperopt_peer.CONTESTANTS,
    **smac_peer.CONTESTANTS,
    **syne_tune_peer.CONTESTANTS,
}
MODULES = {"optuna": "optuna", "hyperopt": "hyperopt", "smac": "smac", "syne": "syne_tune"}
"""The module that a peer comes from, by the first part of its name; distributions are named alike."""

# Ours with pruners: rungs from the first step on, one in three goes on, as the peers have it.
PRUNINGS: dict[str, dict[str, Any]] = {
    "asha": {"pruner": "asha"},
    "promote": {"pruner": "asha", "mode": "promote"},
    "hyperband": {"pruner": "hyperband"},
    "median": {"pruner": "median"},
}

EVALUATING = (
    *("auto", "tpe", "gp", "forest", "cmaes", "evolution", "random", "sobol"),
    *("optuna-tpe", "optuna-gp", "optuna-cmaes", "hyperopt-tpe", "smac", "syne-tpe"),
)
"""The methods that evaluate every configuration in full."""

STOPPING = (
    *("auto+asha", "tpe+asha", "random+asha", "random+promote", "random+hyperband", "auto", "random"),
    *("optuna-random+halving", "optuna-tpe+halving", "optuna-tpe+hyperband", "syne-asha", "syne-bohb", "optuna-tpe"),
)
"""The methods compared on learning curves; most stop trainings early."""


def build(name: str, space: Space, *, setting: Setting) -> Tuner:
    """A method at the start of a study.

    Raises Missing when a peer's package is not installed, and InvalidInput when there is no such method.
    """
    if name in PEERS:
        return PEERS[name](space, setting)
    spec = _spec(name, space, setting)
    sampler = samplers.build(samplers.select(spec).sampler, spec)
    return SimulatedStudy(sampler, pruner=pruners.build(spec))


def is_here(name: str) -> bool:
    """Return True if the method can run: its package is installed, or it is one of ours."""
    if name in PEERS:
        return find_spec(MODULES[name.partition("-")[0]]) is not None
    return name.partition("+")[0] in ("auto", *samplers.names())


def can_run(name: str, space: Space) -> bool:
    """Return True if the method takes a study of this space; our `cmaes`, for example, refuses choices."""
    if name in PEERS:
        return True
    try:
        build(name, space, setting=Setting(seed=0, n_trials=None))
    except InvalidInput:
        return False
    return True


def check(name: str) -> None:
    """Raise InvalidInput when there is no such method."""
    sampler, _, pruner = name.partition("+")
    known = [*PEERS, *samplers.names(), "auto"]
    if name not in PEERS and (sampler not in known or (pruner and pruner not in PRUNINGS)):
        rule = f"there is no such method{did_you_mean(name, known)}; a sampler of ours may have + and one of "
        raise InvalidInput([Problem("--contestants", rule + ", ".join(PRUNINGS), repr(name))])


def _spec(name: str, space: Space, setting: Setting) -> StudySpec:
    """Return the study that a user would write for it."""
    sampler, _, pruner = name.partition("+")
    return StudySpec.parse(
        {
            "name": "bench",
            "objective": {"metric": "loss", "goal": "minimize"},
            "run": {"function": "bench:train"},
            "space": {
                each: parameter.model_dump(by_alias=True, exclude_defaults=True)
                for each, parameter in space.parameters.items()
            },
            "steps": setting.n_steps,
            "search": {"sampler": sampler, "seed": setting.seed},
            "pruning": PRUNINGS[pruner] if pruner else {},
            "budget": {} if setting.n_trials is None else {"trials": setting.n_trials},
        }
    )


@cache
def release(name: str) -> str:
    """Return the release of a method: a peer's version, or a hash of our search code."""
    if name in PEERS:
        package = MODULES[name.partition("-")[0]]
        return f"{package} {version(package)}"
    root = Path(tunefleet_master.__file__).parent
    folders = [root / "search", root / "pruning", root / "simulation"]
    texts = [path.read_bytes() for folder in folders for path in sorted(folder.rglob("*.py"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:12]

"""Comparison of the ranks of configurations on subsets of the data and on all of it."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunefleet.data.subsets import RankCorrelation, rank_correlation
from tunefleet.errors import InvalidInput, Problem
from tunefleet.study.spec import StudySpec, TaskRun
from tunefleet.trial.local_trial import LocalTrial
from tunefleet_worker.loader import check_signature, load_local

logger = logging.getLogger(__name__)

MAX_DRAWS = 1_000  # for each configuration; constraints refuse some of them

Train = Callable[..., object]


@dataclass(frozen=True, slots=True)
class SubsetResult:
    """Scores of configurations trained on a share of the training part."""

    subset: float
    scores: tuple[float, ...]
    """The score of each configuration, higher is better; NaN if it failed or diverged."""
    elapsed_s: float
    """The time of all trainings but those of the first configuration."""
    correlation: RankCorrelation
    """The rank correlation with the scores on the whole training part."""


def compare_subsets(
    spec: StudySpec, *, n_configurations: int, subsets: Sequence[float], tell: Callable[[str], None] = lambda _: None
) -> list[SubsetResult]:
    """Train random configurations of the study on each subset and, for the last result, on the whole training part.

    Trainings run in this process. All have the study's steps and the same validation samples, so a subset costs its
    share of the time. `tell` gets a line of progress after each training.

    Raises:
        InvalidInput: the study runs a program, a subset is out of range, or the space has too few configurations.
        LoadError: the study's function cannot be loaded, or does not take the space's parameters.
    """
    shares = [*sorted({share for share in subsets if share < 1}), 1.0]
    if len(shares) < 2 or shares[0] <= 0:
        raise InvalidInput([Problem("subset", "is above 0 and below 1", str(list(subsets)))])
    configurations = _draw(spec, n_configurations)
    train = load_local(spec)
    for configuration in configurations:
        check_signature(train, configuration, target="run")
    scores: dict[float, list[float]] = {share: [] for share in shares}
    elapsed_s = dict.fromkeys(shares, 0.0)
    for number, configuration in enumerate(configurations, start=1):
        for share in shares:
            begun = time.monotonic()
            score = _score(train, spec, configuration, subset=share)
            if number > 1:  # the first training of a process includes imports and reading the data
                elapsed_s[share] += time.monotonic() - begun
            scores[share].append(score)
            tell(f"configuration {number}/{len(configurations)} on {share:.0%}: {_shown(spec, score)}")
    whole = scores[1.0]
    return [
        SubsetResult(share, tuple(found), elapsed_s[share], rank_correlation(found, whole))
        for share, found in scores.items()
    ]


def _draw(spec: StudySpec, count: int) -> list[dict[str, Any]]:
    space, generator = spec.search_space, random.Random(spec.search.seed)
    found: list[dict[str, Any]] = []
    for configuration in _random_configurations(spec, generator, count * MAX_DRAWS):
        if configuration not in found and space.allows(configuration):
            found.append(configuration)
        if len(found) == count:
            return found
    raise InvalidInput([Problem("space", f"has fewer than {count} configurations; compare fewer", str(len(found)))])


def _random_configurations(spec: StudySpec, generator: random.Random, count: int) -> Iterator[dict[str, Any]]:
    space = spec.search_space
    for _ in range(count):
        yield dict(space.from_unit({name: generator.random() for name in space.names}))


def _score(train: Train, spec: StudySpec, configuration: dict[str, Any], *, subset: float) -> float:
    """Return the value of the objective, higher is better; NaN if the training failed or diverged."""
    trial = LocalTrial(
        spec.steps,
        seed=spec.search.seed,
        params=configuration,
        data=spec.data.model_copy(update={"subset": subset}),
        options=spec.run.options if isinstance(spec.run, TaskRun) else {},
    )
    trial.quiet = True
    try:
        train(trial, **configuration)
    except Exception:  # as on a worker, the trial fails and others continue
        logger.exception("the configuration %s failed", configuration)
        return math.nan
    objective = spec.objective
    values = [metrics[objective.metric] for _, metrics in trial.reports if objective.metric in metrics]
    signed = [value if objective.goal == "maximize" else -value for value in values]
    finite = [value for value in signed if math.isfinite(value)]
    if not signed or not finite:
        return math.nan
    return max(finite) if objective.value == "best" else signed[-1]


def _shown(spec: StudySpec, score: float) -> str:
    value = score if spec.objective.goal == "maximize" else -score
    return f"{spec.objective.metric} {value:.4g}" if math.isfinite(score) else "no result"

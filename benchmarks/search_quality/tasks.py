"""The tasks by name: those that samplers may be developed on, and those kept for the final table.

All are minimised, and all methods get the same spaces, values and durations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.search_quality import bbob, curves, digits, tables
from benchmarks.search_quality.task import Task

from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import did_you_mean

DEVELOPMENT = (
    *(f"hpobench/{name}" for name in ("australian", "car", "credit_g", "vehicle")),
    *(f"hpolib/{name}" for name in ("naval_propulsion", "parkinsons_telemonitoring")),
    "nasbench201/cifar10",
    *("bbob/f8", "bbob/f21"),
    "digits/mlp",
)
"""The tasks for development of samplers."""

FINAL = (
    *(f"hpobench/{name}" for name in ("segment", "phoneme", "kc1", "blood_transfusion")),
    *(f"hpolib/{name}" for name in ("protein_structure", "slice_localization")),
    *("nasbench201/cifar100", "nasbench201/imagenet"),
    *("bbob/f3", "bbob/f7", "bbob/f10", "bbob/f15", "bbob/f20", "bbob-mixint/f15"),
    "digits/svm",
)
"""The tasks that are never used for development; run them for the final table only."""

ANCHORS = (
    *("hpobench/credit_g", "hpobench/segment", "hpobench/vehicle"),
    *("hpolib/naval_propulsion", "hpolib/protein_structure"),
    "nasbench201/cifar100",
    *("bbob/f21", "bbob-mixint/f15"),
)
"""Eight that separate samplers, and on which many peers have been measured."""

CURVES = ("curves/mnist1d",)
"""With learning curves, for those that stop trainings early."""

NUMBERS = tuple(task for task in (*DEVELOPMENT, *FINAL) if task.startswith(("hpobench/", "bbob")))
"""Tasks without choices, which every sampler takes."""

GROUPS = {
    "development": DEVELOPMENT,
    "final": FINAL,
    "anchors": ANCHORS,
    "numbers": NUMBERS,
    "curves": CURVES,
}


def members(group: str) -> tuple[str, ...]:
    """The tasks of a group; one that is named alone is its own group.

    Raises InvalidInput when there is neither.
    """
    every = [task for tasks in GROUPS.values() for task in tasks]
    if group not in GROUPS and group not in every:
        rule = f"there is no such group or task{did_you_mean(group, [*GROUPS, *every])}"
        raise InvalidInput([Problem("--tasks", rule, repr(group))])
    return GROUPS.get(group, (group,))


def load(name: str, *, seed: int) -> Task:
    """A task by its name; `seed` picks the instance of a function, and says nothing to a table.

    Raises KeyError when there is no such task.
    """
    family, _, which = name.partition("/")
    functions = {"bbob": bbob.continuous, "bbob-mixint": bbob.mixed_integer}
    if family in functions:
        return functions[family](int(which.removeprefix("f")), seed=seed)
    readers: Mapping[str, Callable[[str], Task]] = {**tables.READERS, "digits": digits.load, "curves": curves.load}
    return readers[family](which)

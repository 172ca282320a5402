"""Built-in data sets, as plain data: a study is checked without the worker's packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class DatasetTraits:
    """Facts about a data set.

    Attributes:
        smallest_class: the number of samples that its smallest class has outside the test part.
    """

    smallest_class: int


DATASETS: Mapping[str, DatasetTraits] = MappingProxyType(
    {
        "digits": DatasetTraits(smallest_class=139),
        "mnist1d": DatasetTraits(smallest_class=394),
        "fashion_mnist": DatasetTraits(smallest_class=6_000),
        "wine": DatasetTraits(smallest_class=38),
        "breast_cancer": DatasetTraits(smallest_class=170),
    }
)
"""By the names that studies use."""

"""What a model says of held-out samples: the file `predictions.json` that a trial keeps, plain data without numpy.

Notation: n samples, k classes; `probabilities` is (n, k), in the order of `ids` and of `classes`.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import Model, problems_of
from tunefleet.study.spec import MAX_PROBE_SAMPLES

FILE = "predictions.json"
SHEET = "predictions.svg"

MAX_CLASSES = 1_000
MAX_PROBABILITIES = 200_000
"""Of all samples together, n k: some 1.5 MB as text."""
MAX_PICTURES = 100
MAX_SIDE = 32
"""Pixels of a picture's side, and values of a signal by eight."""
MAX_SIGNAL = 8 * MAX_SIDE
MAX_CHANNELS = 4
MAX_BYTES = 4_000_000
"""No file within the other bounds is larger, and none that is larger is read."""
DIGITS = 4
"""Of a probability, behind the point."""
SUM_TOLERANCE = 0.01
"""By how much probabilities of a sample may miss 1 together, beside what rounding makes."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
SampleId = Annotated[int, Field(ge=0, lt=2**53)] | Text
"""A position in the data set, or whatever a user calls a sample, such as a file's name."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Picture(Model):
    """A sample to look at, small; bytes from 0 (the least value) to 255.

    `shape` is (height, width, channels) of a picture, with 1 or 3 channels, and (channels, length) of a signal.
    """

    shape: tuple[int, ...] = Field(min_length=2, max_length=3)
    values: str = Field(max_length=4 * MAX_SIDE * MAX_SIDE * 3)
    """In base64, the last axis fastest."""

    @classmethod
    def of(cls, shape: Sequence[int], content: bytes) -> Self:
        """The picture of these bytes."""
        return cls(shape=tuple(shape), values=base64.b64encode(content).decode())

    @property
    def content(self) -> bytes:
        """The bytes."""
        return base64.b64decode(self.values)

    @property
    def is_signal(self) -> bool:
        """Whether it is a curve, or several, and no picture."""
        return len(self.shape) == 2

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.is_signal:
            fits = 1 <= self.shape[0] <= MAX_CHANNELS and 2 <= self.shape[1] <= MAX_SIGNAL
        else:
            fits = all(1 <= side <= MAX_SIDE for side in self.shape[:2]) and self.shape[2] in (1, 3)
        if not fits:
            raise ValueError(f"a picture cannot have the shape {self.shape}")
        try:
            n = len(base64.b64decode(self.values, validate=True))
        except binascii.Error as error:
            raise ValueError("values must be base64") from error
        if n != math.prod(self.shape):
            raise ValueError(f"{n} values are not those of a picture of shape {self.shape}")
        return self


class Predictions(Model):
    """What a model says of a fixed set of held-out samples.

    Of the samples that are worth it, `pictures` has one, by their place among `ids`.
    """

    format: Literal["tunefleet.protocol.predictions/1"] = "tunefleet.protocol.predictions/1"
    model: Literal["best", "last"] = "last"
    """Whether it is the model of the trial's best step, or of its last one."""
    classes: tuple[Text, ...] = Field(min_length=2, max_length=MAX_CLASSES)
    ids: tuple[SampleId, ...] = Field(min_length=1, max_length=MAX_PROBE_SAMPLES)
    labels: tuple[int, ...]
    """Of each sample, as a place among `classes`."""
    probabilities: tuple[tuple[Share, ...], ...]
    pictures: dict[int, Picture] = Field(default_factory=dict, max_length=MAX_PICTURES)

    @model_validator(mode="after")
    def _check(self) -> Self:
        n, k = len(self.ids), len(self.classes)
        if n * k > MAX_PROBABILITIES:
            raise ValueError(f"{n} samples of {k} classes are {n * k:,} probabilities, over {MAX_PROBABILITIES:,}")
        if not n == len(self.labels) == len(self.probabilities):
            raise ValueError(f"{n} ids, {len(self.labels)} labels and {len(self.probabilities)} rows of probabilities")
        if len(set(self.ids)) < n:
            raise ValueError("two samples have the same id")
        if not all(0 <= label < k for label in self.labels):
            raise ValueError(f"a label is not from 0 to {k - 1}, a place among the {k} classes")
        for place, row in enumerate(self.probabilities):
            if len(row) != k:
                raise ValueError(f"sample {self.ids[place]!r} has {len(row)} probabilities, and there are {k} classes")
            if abs(math.fsum(row) - 1) > SUM_TOLERANCE + k * 10**-DIGITS:
                raise ValueError(
                    f"the probabilities of sample {self.ids[place]!r} sum to {math.fsum(row):.4g}, not to 1"
                )
        if not all(0 <= place < n for place in self.pictures):
            raise ValueError("a picture belongs to no sample")
        return self

    @classmethod
    def read(cls, content: bytes) -> Self:
        """The file's content.

        Raises:
            InvalidInput: it is larger than MAX_BYTES, or not such a file.
        """
        if len(content) > MAX_BYTES:
            raise InvalidInput([Problem(FILE, f"has {len(content):,} bytes, and at most {MAX_BYTES:,} are read")])
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise InvalidInput(problems_of(error, field=FILE)[:3]) from error

    def predicted(self, place: int) -> int:
        """The class that the model gives the sample at a place; of equal ones the first."""
        row = self.probabilities[place]
        return row.index(max(row))

    def of_label(self, place: int) -> float:
        """The probability that the model gives the label of the sample at a place."""
        return self.probabilities[place][self.labels[place]]

    def is_wrong(self, place: int) -> bool:
        """Whether the model gives the sample at a place another class than its label."""
        return self.predicted(place) != self.labels[place]

"""Predictions for held-out samples: the artifact `predictions.json` of a trial, as plain data without numpy.

Notation: n samples, k classes. `probabilities` is (n, k), in the order of `ids` and `classes`.
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
"""The largest n k: about 1.5 MB as text."""
MAX_PICTURES = 100
MAX_SIDE = 32
"""Pixels in a side of a picture."""
MAX_SIGNAL = 8 * MAX_SIDE
MAX_CHANNELS = 4
MAX_BYTES = 4_000_000
"""Files above this size are refused; no file within the other bounds reaches it."""
DIGITS = 4
"""Decimal places of a probability."""
SUM_TOLERANCE = 0.01
"""The deviation from 1 that the sum of a sample's probabilities may have, apart from rounding."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
SampleId = Annotated[int, Field(ge=0, lt=2**53)] | Text
"""A position in the data set, or a name that the user gives, such as a file name."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Picture(Model):
    """A small picture of a sample: an image or a signal, in bytes from 0 (the smallest value) to 255.

    The `shape` of an image is (height, width, channels) with 1 or 3 channels; of a signal, (channels, length).
    """

    shape: tuple[int, ...] = Field(min_length=2, max_length=3)
    values: str = Field(max_length=4 * MAX_SIDE * MAX_SIDE * 3)
    """Base64; the last axis varies fastest."""

    @classmethod
    def of(cls, shape: Sequence[int], content: bytes) -> Self:
        """Return the picture of these bytes."""
        return cls(shape=tuple(shape), values=base64.b64encode(content).decode())

    @property
    def content(self) -> bytes:
        """The decoded bytes."""
        return base64.b64decode(self.values)

    @property
    def is_signal(self) -> bool:
        """True for a signal, False for an image."""
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
            raise ValueError(f"a picture of shape {self.shape} needs {math.prod(self.shape)} values, but has {n}")
        return self


class Predictions(Model):
    """The predictions of a model for a fixed set of held-out samples.

    `pictures` maps indices into `ids` to pictures of the most interesting samples.
    """

    format: Literal["tunefleet.predictions/1"] = "tunefleet.predictions/1"
    model: Literal["best", "last"] = "last"
    """The model of the trial's best step, or of its last step."""
    classes: tuple[Text, ...] = Field(min_length=2, max_length=MAX_CLASSES)
    ids: tuple[SampleId, ...] = Field(min_length=1, max_length=MAX_PROBE_SAMPLES)
    labels: tuple[int, ...]
    """For each sample, an index into `classes`."""
    probabilities: tuple[tuple[Share, ...], ...]
    pictures: dict[int, Picture] = Field(default_factory=dict, max_length=MAX_PICTURES)

    @model_validator(mode="after")
    def _check(self) -> Self:
        n, k = len(self.ids), len(self.classes)
        if n * k > MAX_PROBABILITIES:
            raise ValueError(f"{n} samples of {k} classes have {n * k:,} probabilities, over {MAX_PROBABILITIES:,}")
        if not n == len(self.labels) == len(self.probabilities):
            raise ValueError(
                f"has {n} ids, {len(self.labels)} labels and {len(self.probabilities)} rows of probabilities; "
                "the numbers must be equal"
            )
        if len(set(self.ids)) < n:
            raise ValueError("two samples have the same id")
        if not all(0 <= label < k for label in self.labels):
            raise ValueError(f"a label must be from 0 to {k - 1}, an index into the {k} classes")
        for place, row in enumerate(self.probabilities):
            if len(row) != k:
                raise ValueError(f"sample {self.ids[place]!r} has {len(row)} probabilities, but there are {k} classes")
            if abs(math.fsum(row) - 1) > SUM_TOLERANCE + k * 10**-DIGITS:
                raise ValueError(
                    f"the probabilities of sample {self.ids[place]!r} sum to {math.fsum(row):.4g}, not to 1"
                )
        if not all(0 <= place < n for place in self.pictures):
            raise ValueError(f"a key of pictures must be from 0 to {n - 1}, an index into the {n} samples")
        return self

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Parse the content of a file.

        Raises:
            InvalidInput: the file is larger than MAX_BYTES, or is not valid.
        """
        if len(content) > MAX_BYTES:
            raise InvalidInput([Problem(FILE, f"has {len(content):,} bytes; the limit is {MAX_BYTES:,}")])
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise InvalidInput(problems_of(error, field=FILE)[:3]) from error

    def predicted(self, place: int) -> int:
        """Return the predicted class of the sample at an index; ties go to the first class."""
        row = self.probabilities[place]
        return row.index(max(row))

    def of_label(self, place: int) -> float:
        """Return the probability that the model gives to the label of the sample at an index."""
        return self.probabilities[place][self.labels[place]]

    def is_wrong(self, place: int) -> bool:
        """Return True if the predicted class of the sample at an index is not its label."""
        return self.predicted(place) != self.labels[place]

"""The URL prefix, limits and field types that several messages share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from tunefleet.names import MAX_ID, MetricName
from tunefleet.plain import FreeText

API = "/api/v1"
"""The prefix of every path."""

MAX_WAIT_S = 25.0
"""The longest time that a request may wait for an answer."""

MAX_BATCH = 1_000
"""The number of reports, or of configurations, in one request."""

MAX_STEP = 2**53  # the last integer that every JSON parser reads exactly

Metrics = Annotated[dict[MetricName, float], Field(min_length=1, max_length=200)]

Step = Annotated[int, Field(ge=0, le=MAX_STEP)]

AttemptNumber = Annotated[int, Field(ge=1, le=MAX_ID)]

Text = Annotated[FreeText, StringConstraints(max_length=4_000)]

"""The seal on the test part: no trial can read it during a search, and each opening is logged.

A worker seals it in the process of each trial by an environment variable, so child processes are bound too. A score
that influences a choice is a validation score, whatever its name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import MutableMapping

from tunefleet.errors import TunefleetError

logger = logging.getLogger(__name__)

SEAL = "TUNEFLEET_TEST_PART"
SEALED = "sealed"


class TestPartSealed(TunefleetError):
    """A trial tried to read the test part during the search."""

    __test__ = False  # pytest collects classes with this prefix
    code = "test_part_sealed"


def seal_test_part(environ: MutableMapping[str, str] = os.environ) -> None:
    """Seal the test part for this process and its future child processes."""
    environ[SEAL] = SEALED


def log_opening(what: str) -> None:
    """Log that the test part of `what` is opened. Call it before returning test samples.

    Raises:
        TestPartSealed: the process runs a trial of a search.
    """
    if os.environ.get(SEAL) == SEALED:
        raise TestPartSealed(
            f"the test part of {what} is sealed until the end of the search.",
            hint="Report scores on the validation part here, and score only the chosen model on the test part, once.",
        )
    logger.warning("the test part of %s is opened", what)

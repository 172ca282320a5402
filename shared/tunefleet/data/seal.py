"""The seal on the test part: while a study searches nobody reads it, and every opening leaves a line in the log.

A worker seals it for the process of each trial, by a variable of the environment, so that what a training function
starts is bound too. A number that was looked at while choosing is a validation score, whatever its name.
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
    """The test part was asked for while a study searches."""

    __test__ = False  # pytest takes classes of this name for tests
    code = "test_part_sealed"


def seal_test_part(environ: MutableMapping[str, str] = os.environ) -> None:
    """From now on this process, and those that it starts, get no test part."""
    environ[SEAL] = SEALED


def log_opening(what: str) -> None:
    """Say that the test part of `what` is opened; whoever hands out test samples calls it first.

    Raises:
        TestPartSealed: a trial of a search asks.
    """
    if os.environ.get(SEAL) == SEALED:
        raise TestPartSealed(
            f"the test part of {what} was asked for during the search, and is sealed until its end.",
            hint="Report scores on the validation part here; score the model that is chosen on the test part, once.",
        )
    logger.warning("the test part of %s is opened", what)

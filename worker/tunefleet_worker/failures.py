"""Classification of an attempt's end: by an exception of the user's code, or by the exit of its process."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path

from tunefleet.errors import TunefleetError
from tunefleet.protocol import Failure
from tunefleet_worker.spool import End

MESSAGE_CHARACTERS = 3_900  # the protocol takes 4,000
EXCEPTION_CHARACTERS = 500
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "unable to allocate")
_OURS = Path(__file__).parent


def end_of_exception(error: BaseException, folder: Path | None) -> End:
    """Return the end of an attempt after its function raised; `folder` is the user's code."""
    if isinstance(error, SystemExit):
        return _end_of_system_exit(error)
    kind = type(error).__name__
    text = str(error)
    failure = Failure.OUT_OF_MEMORY if _is_out_of_memory(error) else Failure.ERROR
    message = text if isinstance(error, TunefleetError) else f"{kind}: {text}" if text else kind
    place = _innermost(error, folder)
    exception = f"{kind} at {place}" if place else kind
    return End.failed(failure, message[:MESSAGE_CHARACTERS], exception=exception[:EXCEPTION_CHARACTERS])


def end_of_exit(code: int | None, *, out_of_memory: bool) -> End:
    """Return the end of an attempt after its process exited without recording an end.

    Args:
        code: the exit code, or the negative number of a signal; None when it is not known.
        out_of_memory: True if the OOM killer ran while the process did.
    """
    if code == -signal.SIGKILL:
        if out_of_memory:
            return End.failed(
                Failure.OUT_OF_MEMORY, "the machine ran out of memory, and the system killed the training process"
            )
        return End.failed(Failure.LOST, "the training process was killed from outside (SIGKILL)")
    if code is None:
        return End.failed(Failure.LOST, "the training process ended for an unknown reason")
    if code < 0:
        name = _signal_name(-code)
        return End.failed(Failure.ERROR, f"the training process was ended by {name}", exception=name)
    return End.failed(
        Failure.ERROR,
        f"the training process exited with code {code} before the function returned",
        exception=f"exit code {code}",
    )


def end_of_program(code: int) -> End:
    """Return the end of an attempt after its program exited with a code, or the negative number of a signal."""
    if code == 0:
        return End.complete()
    what = f"was ended by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"
    exception = _signal_name(-code) if code < 0 else f"exit code {code}"
    return End.failed(Failure.ERROR, f"the program {what}", exception=exception)


def _end_of_system_exit(error: SystemExit) -> End:
    if error.code in (None, 0):
        return End.complete()
    if isinstance(error.code, int):
        return End.failed(
            Failure.ERROR, f"the function exited with code {error.code}", exception=f"exit code {error.code}"
        )
    return End.failed(Failure.ERROR, f"the function exited: {error.code}"[:MESSAGE_CHARACTERS], exception="SystemExit")


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)


def _innermost(error: BaseException, folder: Path | None) -> str | None:
    """Return the innermost line of the user's code, or else of the built-in task, as `train.py:12`."""
    frames = traceback.extract_tb(error.__traceback__)
    for root in filter(None, (folder, _OURS)):
        for frame in reversed(frames):
            path = Path(frame.filename)
            if path.is_relative_to(root) and path != _OURS / "child.py":
                return f"{path.relative_to(root)}:{frame.lineno}"
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""Checkpoints: the complete state of a training run in one safetensors file.

The file holds the tensors; its metadata holds everything else as a JSON tree (see `state_tree`). A checkpoint always
includes the states of the global generators: Python's, numpy's, torch's on the CPU and on every CUDA device. A resumed
run draws the same shuffles and dropout masks; on the CPU it equals an uninterrupted run bit for bit. Nothing is pickled
or unpickled, so loading a checkpoint runs no code from it.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tunefleet.errors import TunefleetError
from tunefleet.failpoints import failpoint
from tunefleet_worker.state_tree import BrokenTree, Json, TreeDecoder, TreeEncoder, UnstorableState

FORMAT = "tunefleet.checkpoint/1"


class CheckpointError(TunefleetError):
    """A checkpoint cannot be written or read, or does not fit the objects."""

    code = "checkpoint"


@runtime_checkable
class HasState(Protocol):
    """A module, optimizer, scheduler, gradient scaler, or any object with the same two methods."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state for `load_state_dict`."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Restore a state from `state_dict`."""
        ...


Stateful = HasState | torch.Generator | np.random.Generator | np.random.RandomState | random.Random
"""The objects that a checkpoint saves and restores."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint besides the objects' states: its step, and the caller's own data."""

    step: int
    progress: Mapping[str, Any]


def save_checkpoint(path: Path, *, step: int, objects: Mapping[str, Stateful], progress: Mapping[str, Json]) -> None:
    """Write the states of the objects and of the global generators to `path`, atomically and durably.

    After an interruption `path` holds either the old or the new checkpoint, complete. Once this returns, the new one
    survives a power failure.

    Args:
        path: the file, in an existing folder.
        step: the last finished step.
        objects: the objects by name; `load_checkpoint` needs the same names.
        progress: the caller's own data, returned by `load_checkpoint`.

    Raises:
        CheckpointError: a state cannot be stored (the message names its path in the tree), or the file cannot be
        written.
    """
    encoder = TreeEncoder()
    try:
        states = {name: encoder.encode(_state_of(name, item), f"objects.{name}") for name, item in objects.items()}
        generators = encoder.encode(_generator_states(), "generators")
        notes = encoder.encode(dict(progress), "progress")
    except UnstorableState as error:
        raise CheckpointError(error.message, hint=error.hint) from error
    except RecursionError as error:
        raise CheckpointError(
            "a checkpoint cannot hold a state that is nested too deeply, or that contains itself."
        ) from error
    tree: Json = {"step": step, "progress": notes, "objects": states, "generators": generators}
    _write(path, encoder.tensors, {"format": FORMAT, "tree": json.dumps(tree, allow_nan=False)})


def load_checkpoint(path: Path, *, objects: Mapping[str, Stateful]) -> Checkpoint:
    """Restore the objects and the global generators from `path`.

    The objects get tensors on the CPU; modules and optimizers move them to their own device. States of other objects
    in the file are ignored.

    Raises:
        CheckpointError: the file is missing, is corrupt or has another format, lacks an object, or has a state that
        does not fit its object. Only in the last case are some objects already restored.
    """
    tree = _read(path)
    missing = [name for name in objects if name not in tree["objects"]]
    if missing:
        held = ", ".join(tree["objects"]) or "none"
        raise CheckpointError(
            f"the checkpoint {path} has no state for {', '.join(missing)}; it holds {held}.",
            hint="Pass the same objects under the same names as when it was saved.",
        )
    for name, item in objects.items():
        _restore(path, name, item, tree["objects"][name])
    _restore_generators(tree["generators"])
    return Checkpoint(step=tree["step"], progress=tree["progress"])


def _state_of(name: str, item: Stateful) -> object:
    if isinstance(item, torch.Generator):
        return item.get_state()
    if isinstance(item, np.random.Generator):
        return item.bit_generator.state
    if isinstance(item, np.random.RandomState):
        return item.get_state(legacy=False)
    if isinstance(item, random.Random):
        return item.getstate()
    if isinstance(item, HasState):
        return item.state_dict()
    raise CheckpointError(
        f"a checkpoint cannot hold {name!r}, a value of type {type(item).__qualname__!r}.",
        hint="It can hold objects with state_dict() and load_state_dict(), and generators of torch, numpy and random.",
    )


def _restore(path: Path, name: str, item: Stateful, state: Any) -> None:
    try:
        if isinstance(item, torch.Generator):
            item.set_state(state)
        elif isinstance(item, np.random.Generator):
            item.bit_generator.state = state
        elif isinstance(item, np.random.RandomState):
            item.set_state(state)
        elif isinstance(item, random.Random):
            item.setstate(state)
        else:
            item.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"the state of {name!r} in the checkpoint {path} does not fit the object: {reason}"
        ) from error


def _generator_states() -> dict[str, object]:
    """Return the states of all global generators; those of CUDA only if CUDA is initialised."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 - the global generator is what user code draws from
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if _cuda_is_used() else [],
    }


def _cuda_is_used() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _restore_generators(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    for device, state in zip(range(torch.cuda.device_count() if states["cuda"] else 0), states["cuda"], strict=False):
        torch.cuda.set_rng_state(state, device)


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        save_file(tensors, draft, metadata=metadata)
        _sync(draft)
        failpoint("child.inside_checkpoint")
        draft.replace(path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise CheckpointError(f"the checkpoint {path} cannot be written: {error}.") from error


def _sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path} is not a checkpoint of the format {FORMAT!r}, but {metadata.get('format')!r}."
                )
            # Cloned, because the file's tensors are memory-mapped, and invalid when the file changes.
            decoder = TreeDecoder(lambda name: file.get_tensor(name).clone())
            tree = decoder.decode(json.loads(metadata["tree"]))
        _check_tree(tree)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}.") from error
    except (OSError, SafetensorError, BrokenTree, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the checkpoint {path} is corrupt: {error}", hint="Delete it; the trial then starts from step 0."
        ) from error
    return tree  # type: ignore[no-any-return]


def _check_tree(tree: Any) -> None:
    kinds = {"step": int, "progress": dict, "objects": dict, "generators": dict}
    if not isinstance(tree, dict) or any(not isinstance(tree.get(key), kind) for key, kind in kinds.items()):
        raise BrokenTree("its tree lacks a part.")

"""The machine's GPUs and how they are dealt to slots, found without touching CUDA: it would not survive a fork."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from tunefleet.errors import InvalidInput, Problem

_QUERY = ("nvidia-smi", "--query-gpu=index,name", "--format=csv,noheader")
_QUERY_S = 20.0  # a driver that wakes up takes some seconds


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as CUDA_VISIBLE_DEVICES names it, and as its maker does."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Slots:
    """What each slot may use: the ids of its GPUs, none on a CPU."""

    gpus: tuple[tuple[str, ...], ...]
    device: str
    """As a person reads it."""

    @property
    def count(self) -> int:
        """How many trials run at once."""
        return len(self.gpus)

    @property
    def gpus_per_slot(self) -> int:
        """How many GPUs a trial sees."""
        return len(self.gpus[0])


def find_gpus() -> list[Gpu]:
    """The GPUs that this process may use; none when the driver's `nvidia-smi` is not there."""
    if shutil.which(_QUERY[0]) is None:
        return []
    try:
        answer = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_QUERY_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    names = dict(line.split(", ", 1) for line in answer.splitlines() if ", " in line)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [Gpu(id, name) for id, name in names.items()]
    ids = [id.strip() for id in visible.split(",") if id.strip() not in ("", "-1")]
    return [Gpu(id, names.get(id, "NVIDIA GPU")) for id in ids]


def choose_gpus(found: list[Gpu], wanted: str) -> list[Gpu]:
    """The GPUs that `--gpus` names: `all`, `none`, or ids with commas between them.

    Raises:
        InvalidInput: an id is not there.
    """
    if wanted == "all":
        return found
    if wanted == "none":
        return []
    known = {gpu.id: gpu for gpu in found}
    ids = [id.strip() for id in wanted.split(",")]
    missing = [id for id in ids if id not in known]
    if missing:
        rule = f"there is no GPU {', '.join(missing)} here; there are: {', '.join(known) or 'none'}"
        raise InvalidInput([Problem("--gpus", rule, repr(wanted))], hint="Write all, none, or ids such as 0,1.")
    return [known[id] for id in ids]


def deal(gpus: list[Gpu], *, slots: int | None, gpus_per_slot: int) -> Slots:
    """Deal the GPUs to slots.

    Args:
        gpus: to deal; none: slots on the CPU.
        slots: how many; None: as many as the GPUs are enough for, one on a CPU. More of them share GPUs in turn.
        gpus_per_slot: how many GPUs a trial sees.

    Raises:
        InvalidInput: a slot would need more GPUs than there are.
    """
    if not gpus:
        return Slots(((),) * (slots or 1), device="cpu")
    if gpus_per_slot > len(gpus):
        rule = f"there are only {len(gpus)} GPUs"
        raise InvalidInput([Problem("--gpus-per-slot", rule, str(gpus_per_slot))])
    count = slots or len(gpus) // gpus_per_slot
    places = ([(slot * gpus_per_slot + i) % len(gpus) for i in range(gpus_per_slot)] for slot in range(count))
    names = sorted({gpu.name for gpu in gpus})
    return Slots(tuple(tuple(gpus[at].id for at in place) for place in places), device=", ".join(names))

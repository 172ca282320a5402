"""The machine's GPUs and their assignment to slots, without CUDA: an initialised CUDA does not survive a fork."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from tunefleet.errors import InvalidInput, Problem

_QUERY = ("nvidia-smi", "--query-gpu=index,name", "--format=csv,noheader")
_QUERY_S = 20.0  # a driver takes some seconds to start


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its id in CUDA_VISIBLE_DEVICES, and its product name."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Slots:
    """The GPU ids of each slot; empty on a CPU."""

    gpus: tuple[tuple[str, ...], ...]
    device: str
    """The name of the device, for people."""

    @property
    def count(self) -> int:
        """The number of slots: trials that run at once."""
        return len(self.gpus)

    @property
    def gpus_per_slot(self) -> int:
        """The number of GPUs of one trial."""
        return len(self.gpus[0])


def find_gpus() -> list[Gpu]:
    """Return the GPUs that this process may use; empty without the driver's `nvidia-smi`."""
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
    """Return the GPUs that `--gpus` names: `all`, `none`, or ids separated by commas.

    Raises:
        InvalidInput: there is no GPU with an id.
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


def assign_gpus(gpus: list[Gpu], *, slots: int | None, gpus_per_slot: int) -> Slots:
    """Assign the GPUs to slots.

    Args:
        gpus: the GPUs to assign; empty: slots on the CPU.
        slots: number of slots; None: as many as there are GPUs for, one on a CPU. With more, slots share GPUs.
        gpus_per_slot: number of GPUs of one trial.

    Raises:
        InvalidInput: a slot would need more GPUs than there are.
    """
    if not gpus:
        return Slots(((),) * (slots or 1), device="cpu")
    if gpus_per_slot > len(gpus):
        rule = f"there are only {len(gpus)} GPUs"
        raise InvalidInput([Problem("--gpus-per-slot", rule, str(gpus_per_slot))])
    count = slots or len(gpus) // gpus_per_slot
    assigned = ([(slot * gpus_per_slot + i) % len(gpus) for i in range(gpus_per_slot)] for slot in range(count))
    names = sorted({gpu.name for gpu in gpus})
    return Slots(tuple(tuple(gpus[at].id for at in positions) for positions in assigned), device=", ".join(names))

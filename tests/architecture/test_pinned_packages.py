"""What pip installs is what constraints.txt says, so that two machines get the same environment."""

from __future__ import annotations

from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("master", "search", "worker", "telemetry", "dev")

# A torch built for CUDA pins these itself, exactly.
PINNED_BY_TORCH = ("nvidia-", "cuda-", "triton")


def _closure(name: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Every installed package that `name` with `extras` requires, with its version."""
    found: dict[str, str] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    waiting = [(name, extras)]
    while waiting:
        wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        package = distribution(wanted[0])
        found[canonicalize_name(wanted[0])] = package.version
        requirements = [Requirement(text) for text in package.requires or []]
        waiting += [
            (requirement.name, tuple(sorted(requirement.extras)))
            for requirement in requirements
            if _applies(requirement, wanted[1])
        ]
    return found


def _applies(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    if requirement.name.startswith(PINNED_BY_TORCH):
        return False
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _pins(text: str) -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    pairs = [line.split("==") for line in lines if line]
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_package_that_we_need_is_pinned_to_what_is_installed(root):
    pins = _pins((root / "constraints.txt").read_text(encoding="utf-8"))
    installed = _closure("tunefleet", EXTRAS)
    del installed["tunefleet"]
    public = {name: version.partition("+")[0] for name, version in installed.items()}
    assert {name: version for name, version in public.items() if pins.get(name) != version} == {}

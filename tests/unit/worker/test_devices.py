"""GPUs are found and assigned to slots without CUDA."""

from __future__ import annotations

import pytest

from tunefleet.errors import InvalidInput
from tunefleet_worker.agent.devices import Gpu, assign_gpus, choose_gpus, find_gpus

FOUR = [Gpu(str(i), "NVIDIA H200") for i in range(4)]


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Install a fake `nvidia-smi` that lists three GPUs."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0, NVIDIA A100\\n1, NVIDIA A100\\n2, NVIDIA T4\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_drivers_tool_tells_which_gpus_there_are(nvidia_smi):
    assert find_gpus() == [Gpu("0", "NVIDIA A100"), Gpu("1", "NVIDIA A100"), Gpu("2", "NVIDIA T4")]


@pytest.mark.parametrize(("visible", "ids"), [("2,0", ["2", "0"]), ("", []), ("-1", [])])
def test_only_what_the_environment_leaves_visible_is_used(nvidia_smi, monkeypatch, visible, ids):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.id for gpu in find_gpus()] == ids


def test_without_the_tool_there_is_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == []


@pytest.mark.parametrize(("wanted", "ids"), [("all", ["0", "1", "2", "3"]), ("none", []), ("3, 1", ["3", "1"])])
def test_gpus_are_chosen_by_id(wanted, ids):
    assert [gpu.id for gpu in choose_gpus(FOUR, wanted)] == ids


def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(InvalidInput, match="there is no GPU 7 here; there are: 0, 1, 2, 3"):
        choose_gpus(FOUR, "0,7")


@pytest.mark.parametrize(
    ("gpus", "slots", "per_slot", "assigned"),
    [
        ([], None, 1, ((),)),
        ([], 3, 1, ((), (), ())),
        (FOUR, None, 1, (("0",), ("1",), ("2",), ("3",))),
        (FOUR, None, 2, (("0", "1"), ("2", "3"))),
        (FOUR[:1], 3, 1, (("0",), ("0",), ("0",))),
    ],
)
def test_slots_get_their_gpus_and_share_when_they_are_more(gpus, slots, per_slot, assigned):
    assert assign_gpus(gpus, slots=slots, gpus_per_slot=per_slot).gpus == assigned


def test_a_slot_cannot_have_more_gpus_than_there_are():
    with pytest.raises(InvalidInput, match="only 4 GPUs"):
        assign_gpus(FOUR, slots=None, gpus_per_slot=8)

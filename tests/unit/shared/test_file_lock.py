"""A lock file has one holder, which it names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tunefleet.files import lock


def test_a_held_lock_names_the_process_that_holds_it(tmp_path: Path) -> None:
    lock.take(tmp_path / "lock")

    with pytest.raises(lock.LockHeld) as held:
        lock.take(tmp_path / "lock")

    assert held.value.owner == str(os.getpid())


def test_a_closed_lock_is_free(tmp_path: Path) -> None:
    os.close(lock.take(tmp_path / "lock"))

    assert lock.take(tmp_path / "lock") > 0


def test_a_lock_in_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock.take(tmp_path / "none" / "lock")

"""The schedule of watched updates."""

from __future__ import annotations

from tunefleet.protocol.telemetry import MAX_RECORDS
from tunefleet_worker.watching.schedule import EVERY, is_kept, next_watched


def test_four_updates_of_each_doubling_are_kept_and_their_number_is_bounded() -> None:
    kept = [update for update in range(2**12) if is_kept(update)]
    assert kept[:14] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16, 19]
    assert [update for update in kept if 1024 <= update < 2048] == [1024, 1218, 1448, 1722]
    assert len(kept) + 4 * (63 - 12) < MAX_RECORDS


def test_second_and_third_epoch_have_watched_updates() -> None:
    for length in (4, 18, 100, 469, 5000):
        seen = [update for update in range(length, 3 * length) if is_kept(update)]
        assert len(seen) >= 6, length


def test_late_epochs_have_watched_updates_at_a_fixed_share() -> None:
    assert next_watched(10_000) == 10_112
    assert next_watched(10_113) == 10_240
    late = [update for update in range(2**16, 2**16 + 10 * EVERY) if next_watched(update) == update]
    assert 10 <= len(late) <= 12

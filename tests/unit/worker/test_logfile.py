"""A trial's log has at most its beginning and its end."""

from __future__ import annotations

import pytest

from tunefleet_worker.logfile import CappedLog


@pytest.fixture
def log(tmp_path):
    log = CappedLog(tmp_path / "log.txt", head_bytes=100, tail_bytes=20)
    yield log
    log.close()


def copied(log, tmp_path):
    log.copy_to(tmp_path / "copy")
    return (tmp_path / "copy").read_bytes()


def test_a_short_log_is_kept_as_it_came(log, tmp_path):
    log.add(b"hello\n")
    log.add(b"world\n")
    assert copied(log, tmp_path) == b"hello\nworld\n"
    assert log.last(6) == "world\n"
    assert log.last(1000) == "hello\nworld\n"


def test_of_a_long_log_the_middle_is_left_out_and_counted(log, tmp_path):
    log.add(b"a" * 100)
    log.add(b"b" * 1000)
    log.add(b"the very last words\n")
    text = copied(log, tmp_path)
    assert text.startswith(b"a" * 100)
    assert text.endswith(b"the very last words\n")
    assert b"1000 bytes are left out" in text
    assert log.last(12) == " last words\n"


def test_a_log_of_any_length_takes_little_room(log, tmp_path):
    for _ in range(1000):
        log.add(b"x" * 1000)
    assert log.total_bytes == 1_000_000
    log.close()
    assert (tmp_path / "log.txt").stat().st_size < 250


def test_bytes_that_are_no_text_do_not_break_the_tail(log):
    log.add(b"\xff\xfe ok")
    assert log.last(100).endswith(" ok")

"""Records of a training process survive its death."""

from __future__ import annotations

import resource

import pytest

from tunefleet.protocol import Failure
from tunefleet_worker.spool import End, FileRecord, Record, ReportRecord, SpoolReader, SpoolWriter, read_end


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.jsonl"


def test_records_come_out_in_order_with_rising_numbers_and_once(path):
    writer, reader = SpoolWriter(path), SpoolReader(path)
    records: list[Record] = [
        ReportRecord(0, {"loss": 1.0}),
        FileRecord("model.safetensors", "0-model.safetensors"),
        End.complete(),
    ]
    for record in records[:2]:
        writer.append(record)
    assert reader.read() == list(enumerate(records[:2]))
    assert reader.read() == []
    writer.append(records[2])
    assert reader.read() == [(2, records[2])]


def test_every_end_comes_back_as_it_was(path):
    ends = [
        End.complete({"loss": 0.5}),
        End.failed(Failure.TIMEOUT, "too long", exception="ValueError at train.py:3"),
        End.released("lost"),
    ]
    for end in ends:
        path.unlink(missing_ok=True)
        SpoolWriter(path).append(end)
        assert read_end(path) == end


def test_nan_and_infinity_pass_through(path):
    SpoolWriter(path).append(ReportRecord(3, {"loss": float("inf"), "other": float("nan")}))
    [(_, record)] = SpoolReader(path).read()
    assert isinstance(record, ReportRecord)
    assert record.metrics["loss"] == float("inf")
    assert record.metrics["other"] != record.metrics["other"]


def test_incomplete_last_line_is_not_a_record_and_the_next_writer_truncates_it(path):
    SpoolWriter(path).append(ReportRecord(0, {"loss": 1.0}))
    with path.open("ab") as file:
        file.write(b'{"kind":"report","step":1,"metr')
    reader = SpoolReader(path)
    assert len(reader.read()) == 1
    SpoolWriter(path).append(End.released("lost"))
    assert reader.read() == [(1, End.released("lost"))]


def test_line_that_is_not_a_record_is_skipped_and_counted(path):
    path.write_text('{"kind":"report","step":0,"metrics":{}}\nrubbish\n{"kind":"news"}\n')
    SpoolWriter(path).append(End.complete())
    assert [number for number, _ in SpoolReader(path).read()] == [0, 3]


def test_a_spool_that_is_not_there_is_empty(path):
    assert SpoolReader(path).read() == []
    assert read_end(path) is None


def test_full_disk_raises_and_the_spool_keeps_whole_lines(path):
    writer = SpoolWriter(path)
    writer.append(ReportRecord(0, {"loss": 1.0}))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))  # like a disk with ten free bytes
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.append(ReportRecord(1, {"loss": 1.0}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    writer.append(End.complete())
    assert SpoolReader(path).read() == [(0, ReportRecord(0, {"loss": 1.0})), (1, End.complete())]

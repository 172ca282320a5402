"""Code bundles are unpacked into their own folder only."""

from __future__ import annotations

import hashlib
import shutil

import pytest

from tunefleet.client.bundle import pack
from tunefleet_worker.bundles import BundleCache
from tunefleet_worker.unpacking import BrokenBundle, unpack


def test_a_packed_folder_comes_out_the_same_and_is_fetched_once(tmp_path):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "train.py").write_text("x = 1\n")
    (source / "deep" / "data.txt").write_text("y")
    fetched = []
    with pack(source) as bundle:

        def download(sha256, to):
            fetched.append(sha256)
            shutil.copyfile(bundle.path, to)

        cache = BundleCache(tmp_path / "cache", download)
        folder = cache.folder_of(bundle.sha256)
        assert cache.folder_of(bundle.sha256) == folder
    assert fetched == [bundle.sha256]
    assert (folder / "train.py").read_text() == "x = 1\n"
    assert (folder / "deep" / "data.txt").read_text() == "y"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [bundle.sha256]


def test_another_hash_is_refused_and_leaves_nothing(tmp_path):
    cache = BundleCache(tmp_path / "cache", lambda sha256, to: to.write_bytes(b"else"))
    with pytest.raises(BrokenBundle, match="another hash"):
        cache.folder_of(hashlib.sha256(b"this").hexdigest())
    assert list((tmp_path / "cache").iterdir()) == []


def test_file_that_is_not_an_archive_is_refused(tmp_path):
    (tmp_path / "bundle").write_bytes(b"no archive")
    with pytest.raises(BrokenBundle, match="cannot be unpacked"):
        unpack(tmp_path / "bundle", tmp_path / "code")

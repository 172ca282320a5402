"""Bundles: their content and their reproducibility."""

from __future__ import annotations

import os
import random
import tarfile
from pathlib import Path

import pytest

from tunefleet.client.bundle import MAX_BUNDLE_BYTES, pack
from tunefleet.errors import InvalidInput, TooLarge


def write(folder: Path, *names: str, text: str = "x = 1\n") -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def files_of(folder: Path) -> list[str]:
    with pack(folder) as bundle, tarfile.open(bundle.path) as tar:
        assert tuple(tar.getnames()) == bundle.files
        return tar.getnames()


def test_equal_files_give_equal_hashes_at_any_time_and_path(tmp_path: Path) -> None:
    hashes: list[str] = []
    for name in ("one", "two"):
        write(tmp_path / name, "train.py", "package/model.py", "package/__init__.py")
        os.utime(tmp_path / name / "train.py", (len(hashes) * 1e6 + 1, 5))
        with pack(tmp_path / name) as bundle:
            hashes.append(bundle.sha256)
    assert hashes[0] == hashes[1]


def test_the_archive_is_removed_after_the_block(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    with pack(tmp_path) as bundle:
        assert bundle.size_bytes == bundle.path.stat().st_size
    assert not bundle.path.exists()


def test_version_control_environments_and_caches_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        ".git/config",
        ".venv/bin/python",
        "a/__pycache__/a.pyc",
        "node_modules/x.js",
        ".tunefleet/db",
    )
    assert files_of(tmp_path) == ["train.py"]


def test_gitignore_files_are_read_as_git_reads_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        "data/big.bin",
        "notes.log",
        "keep.log",
        "sub/a.txt",
        "sub/b.txt",
        "sub/deep/c.txt",
        "build/x",
    )
    (tmp_path / ".gitignore").write_text("# comment\n/data/\n*.log\n!keep.log\nbuild\n*.txt\n")
    (tmp_path / "sub" / ".gitignore").write_text("!b.txt\n/deep\n")
    assert files_of(tmp_path) == [".gitignore", "keep.log", "sub/.gitignore", "sub/b.txt", "train.py"]


def test_a_link_inside_stays_a_relative_link_and_a_broken_one_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "real/a.py", "deep/er/b.py")
    (tmp_path / "deep" / "er" / "link.py").symlink_to((tmp_path / "real" / "a.py").resolve())
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with pack(tmp_path) as bundle, tarfile.open(bundle.path) as tar:
        assert tar.getnames() == ["deep/er/b.py", "deep/er/link.py", "real/a.py"]
        assert tar.getmember("deep/er/link.py").linkname == "../../real/a.py"


@pytest.mark.parametrize("target", ["/etc/hostname", "../secret"])
def test_a_link_that_leads_outside_is_refused(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "code"
    write(folder, "a.py")
    write(tmp_path, "secret")
    (folder / "link").symlink_to(target)
    with pytest.raises(InvalidInput, match=r"link: the link leads out of the folder, to /.*; copy what it points to"):
        pack(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"run\.code = .*nowhere: there is no such folder"):
        pack(tmp_path / "nowhere")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no files"):
        pack(tmp_path)


def test_a_bundle_over_the_limit_names_the_largest_files_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = tmp_path / "code"
    write(folder, *(f"small{i}.py" for i in range(6)))
    noise = random.Random(0).randbytes(1_000_000)
    with (folder / "weights.bin").open("wb") as file:
        for i in range(MAX_BUNDLE_BYTES // 1_000_000 + 1):
            file.write(bytes([i]) + noise[i:] + noise[:i])
    with pytest.raises(TooLarge) as caught:
        pack(folder)
    text = str(caught.value)
    assert "exceeds 50 MB" in text
    assert "weights.bin (51.0 MB)" in text
    assert text.count(" MB)") == 5
    assert ".gitignore" in text
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_executable_file_stays_executable(tmp_path: Path) -> None:
    write(tmp_path, "run.sh", "plain.txt")
    (tmp_path / "run.sh").chmod(0o700)
    with pack(tmp_path) as bundle, tarfile.open(bundle.path) as tar:
        modes = {member.name: member.mode for member in tar}
        assert modes == {"run.sh": 0o755, "plain.txt": 0o644}
        assert {(member.uid, member.mtime, member.uname) for member in tar} == {(0, 0, "")}

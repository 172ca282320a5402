"""No archive can write outside its folder, or exhaust memory or disk."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.chaos import amount

from tunefleet.client.bundle import ALWAYS_UNPACKED_BYTES, MAX_FILES, pack
from tunefleet.errors import InvalidInput, TooLarge, TunefleetError
from tunefleet_worker.unpacking import BrokenBundle, unpack

Member = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: bytes = b"x") -> Member:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Member:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def special(name: str, kind: bytes) -> Member:
    member = tarfile.TarInfo(name)
    member.type = kind
    return member, b""


def archive(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as out:
        for member, content in members:
            out.addfile(member, io.BytesIO(content))
    return path


def everything_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "members",
    [
        [file("../outside")],
        [file("a/../../outside")],
        [file("/outside")],
        [file("a/./../b")],
        [link("way_out", "/etc")],
        [link("way_out", "../../outside")],
        [link("way_out", "a/../../..")],
        [link("up", ".."), file("up/outside")],
        [link("here", "."), file("here/train.py")],
        [link("a", "b"), link("b", "a"), file("a/x")],
        [link("hard", "../outside", tarfile.LNKTYPE)],
        [file("a"), link("hard", "a", tarfile.LNKTYPE)],
        [file("a"), file("a")],
        [file("a"), link("./a", "b")],
        [special("null", tarfile.CHRTYPE)],
        [special("disk", tarfile.BLKTYPE)],
        [special("pipe", tarfile.FIFOTYPE)],
        [file("/".join("d" * 60) + "/x")],
        [file("n" * 1_500)],
        [file("n" * 300)],
    ],
    ids=lambda members: " ".join(info.name[:20] for info, _ in members),
)
def test_disallowed_member_is_refused_and_nothing_is_left(tmp_path: Path, members: list[Member]) -> None:
    packed = archive(tmp_path / "bundle", file("train.py"), *members)

    with pytest.raises(BrokenBundle, match="cannot be unpacked"):
        unpack(packed, tmp_path / "code")

    assert everything_in(tmp_path) == {"bundle"}


def test_links_that_stay_inside_are_kept(tmp_path: Path) -> None:
    members = [file("real/a.py"), link("deep/er/link.py", "../../real/a.py"), link("folder", "real")]

    unpack(archive(tmp_path / "bundle", *members), tmp_path / "code")

    assert (tmp_path / "code/deep/er/link.py").read_text() == "x"
    assert (tmp_path / "code/folder/a.py").read_text() == "x"


def test_a_bomb_of_zeros_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    content = bytes(ALWAYS_UNPACKED_BYTES + 1_000_000)
    packed = archive(tmp_path / "bundle", file("zeros", content))

    with pytest.raises(TooLarge, match="exceeds a limit when unpacked"):
        unpack(packed, tmp_path / "code")

    assert packed.stat().st_size < 100_000
    assert everything_in(tmp_path) == {"bundle"}


def test_a_small_bundle_may_be_repetitive(tmp_path: Path) -> None:
    unpack(archive(tmp_path / "bundle", file("zeros", bytes(10_000_000))), tmp_path / "code")

    assert (tmp_path / "code/zeros").stat().st_size == 10_000_000


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    packed = archive(tmp_path / "bundle", *(special(f"d{i}", tarfile.DIRTYPE) for i in range(MAX_FILES + 1)))

    with pytest.raises(TooLarge, match="20,000 files"):
        unpack(packed, tmp_path / "code")

    assert everything_in(tmp_path) == {"bundle"}


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 10_000_000_000
    with gzip.open(tmp_path / "bundle", "wb") as out:
        out.write(header.tobuf(tarfile.GNU_FORMAT))
        out.write(bytes(3_000_000))

    with pytest.raises(BrokenBundle, match="a header asks for"):
        unpack(tmp_path / "bundle", tmp_path / "code")


def test_other_compressions_are_not_opened(tmp_path: Path) -> None:
    for mode in ("w", "w:bz2", "w:xz"):
        with tarfile.open(tmp_path / "bundle", mode) as out:
            out.addfile(special("a", tarfile.DIRTYPE)[0])
        with pytest.raises(BrokenBundle):
            unpack(tmp_path / "bundle", tmp_path / "code")


@settings(max_examples=amount(300, 10_000), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_unpacked_into_its_folder(tmp_path: Path, data: st.DataObject) -> None:
    members = [file("a.py", b"x = 1\n" * 50), link("b", "a.py"), file("deep/c.txt"), special("e", tarfile.DIRTYPE)]
    raw = bytearray(gzip.decompress(archive(tmp_path / "bundle", *members).read_bytes()))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, 12 * 512))
        raw[place : place + 1] = data.draw(st.binary(min_size=0, max_size=3))
    (tmp_path / "bundle").write_bytes(gzip.compress(raw, 1))
    try:
        unpack(tmp_path / "bundle", tmp_path / "code")
    except TunefleetError:
        assert everything_in(tmp_path) == {"bundle"}
    else:
        assert all(path.resolve().is_relative_to(tmp_path / "code") for path in (tmp_path / "code").rglob("*"))
        remove(tmp_path / "code")


def remove(folder: Path) -> None:
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_what_cannot_be_unpacked_is_not_packed(tmp_path: Path) -> None:
    deep = tmp_path / "deep" / Path(*("d" * 60))
    deep.mkdir(parents=True)
    (deep / "x.py").write_text("x = 1")
    with pytest.raises(InvalidInput, match="50 folders"):
        pack(tmp_path / "deep")
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "zeros").write_bytes(bytes(ALWAYS_UNPACKED_BYTES + 1_000_000))
    with pytest.raises(TooLarge, match=r"zeros \(21\.0 MB\)"):
        pack(tmp_path / "wide")

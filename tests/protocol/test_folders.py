"""Folders as one file: there and back, and archives that mean harm."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from transit import ProofError
from transit.protocol.folders import pack_tar, pack_zip, unpack_zip

FILES = {"proof.json": b"{}", "leaves/" + "a" * 64: b"x" * 5000, "heads/0/checkpoint": b""}


def test_a_folder_comes_back_as_it_was() -> None:
    assert unpack_zip(pack_zip(FILES)) == FILES
    assert unpack_zip(pack_zip({})) == {}
    with tarfile.open(fileobj=io.BytesIO(pack_tar(FILES))) as opened:
        found = {name: opened.extractfile(name) for name in opened.getnames()}
        assert {name: file.read() for name, file in found.items() if file} == FILES


def test_the_same_files_give_the_same_bytes() -> None:
    turned = dict(reversed(FILES.items()))
    assert pack_zip(turned) == pack_zip(FILES)
    assert pack_tar(turned) == pack_tar(FILES)


def zipped(change: Callable[[zipfile.ZipInfo], None], name: str = "a", data: bytes = b"x") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        info = zipfile.ZipInfo(name)
        change(info)
        opened.writestr(info, data)
    return made.getvalue()


def as_link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def as_folder(info: zipfile.ZipInfo) -> None:
    info.external_attr = 0x10


def as_bzip(info: zipfile.ZipInfo) -> None:
    info.compress_type = zipfile.ZIP_BZIP2


@pytest.mark.parametrize("change", [as_link, as_folder, as_bzip])
def test_what_is_no_plain_file_is_refused(change: Callable[[zipfile.ZipInfo], None]) -> None:
    with pytest.raises(ProofError, match="no plain file"):
        unpack_zip(zipped(change))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../x", "a//b", "./x", "a/.", "a/..", "a\\b", "C:x", "é", "",
             "a\nb", " ", "x/"],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ProofError):
        unpack_zip(zipped(lambda info: None, name))


def test_a_name_that_is_cut_off_by_some_is_refused() -> None:
    packed = zipped(lambda info: None, "a_..").replace(b"a_..", b"a\0..")
    with pytest.raises(ProofError, match="no plain file"):
        unpack_zip(packed)


def test_names_with_dots_in_them_are_names() -> None:
    files = {"a.b/..c": b"1", "...": b"2", "HOW.txt": b"3"}
    assert unpack_zip(pack_zip(files)) == files


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr("a", b"1")
        opened.writestr("a", b"2")
    with pytest.raises(ProofError, match="twice"):
        unpack_zip(made.getvalue())


def test_what_would_become_too_large_is_refused_before_it_is_unpacked() -> None:
    packed = pack_zip({"a": bytes(1_000_000), "b": bytes(1_000_000)})
    assert len(packed) < 5_000
    with pytest.raises(ProofError, match="more than 1999999 bytes"):
        unpack_zip(packed, 1_999_999)
    assert len(unpack_zip(packed, 2_000_000)["a"]) == 1_000_000


def test_a_member_that_is_larger_than_it_says_is_refused() -> None:
    packed = pack_zip({"a": bytes(100_000)})
    lying = packed.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != packed
    with pytest.raises(ProofError):
        unpack_zip(lying)


def test_every_truncation_and_any_flipped_byte_is_refused_or_gives_the_same() -> None:
    packed = pack_zip(FILES)
    for size in range(0, len(packed), 7):
        with pytest.raises(ProofError):
            unpack_zip(packed[:size])
    for place in range(len(packed)):
        changed = bytearray(packed)
        changed[place] ^= 0xFF
        try:
            found = unpack_zip(bytes(changed))
        except ProofError:
            continue
        assert set(found.values()) <= set(FILES.values())

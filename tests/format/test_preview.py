"""A store that 0.1.0 wrote is told as that, not as damage; what was damaged since is damage.

The files in `preview/` were made by 0.1.0 and are never made anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.errors import CorruptError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.commit import decode_commit, decode_format, encode_format
from transit.format.frame import decode_wal_header
from transit.format.segment import TAIL, check_header, decode_tail
from transit.format.snapshot import decode_snapshot

PREVIEW = Path(__file__).parent / "preview"
STORE = bytes.fromhex("00112233445566778899aabbccddeeff")
FILES = sorted(path for path in PREVIEW.rglob("*") if path.is_file())


def read(path: Path) -> bytes:
    return path.read_bytes()


READERS: dict[str, Callable[[bytes], object]] = {
    ".wal": lambda data: decode_wal_header(data[:64], "here"),
    ".seg": lambda data: check_header(data, STORE, "here"),
    ".idx": lambda data: decode_snapshot(data, STORE, "here"),
    ".json": lambda data: decode_commit(data, "here"),
    "": lambda data: decode_format(data, "here"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(PREVIEW, tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.suffix or path.name)
def test_every_file_of_a_preview_is_told_as_one(path: Path) -> None:
    with pytest.raises(UnsupportedVersionError, match=r"transit 0\.1\.0") as caught:
        READERS[path.suffix](read(path))
    assert (caught.value.found, caught.value.supported) == (0, 1)
    (found,) = transit.inspect_file(path).findings[:1]
    assert "0.1.0" in str(found)


def test_the_tail_of_a_preview_segment_is_told_as_one() -> None:
    for path in PREVIEW.glob("segments/*"):
        with pytest.raises(UnsupportedVersionError):
            decode_tail(read(path)[-TAIL.size :], "here")


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_store_of_a_preview_is_not_opened_and_not_touched(folder: Path, mode: str) -> None:
    before = {path: read(path) for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UnsupportedVersionError, match=r"transit 0\.1\.0"):
        transit.open(folder, mode=mode)
    after = {path: read(path) for path in folder.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path.name != "LOCK"} == before


def test_a_bucket_of_a_preview_is_not_restored_or_read(folder: Path, tmp_path: Path) -> None:
    address = folder.as_uri()
    with pytest.raises(UnsupportedVersionError):
        transit.restore(address, tmp_path / "restored")
    with pytest.raises(UnsupportedVersionError):
        transit.open(address, mode="read")
    report = transit.audit(address)
    assert not report.ok
    assert "0.1.0" in str(report.findings)


def test_a_damaged_file_of_today_is_never_taken_for_a_preview(flips) -> None:
    for _, data in flips(encode_format(STORE)):
        try:
            # FORMAT has no checksum: another store id is as good as this one.
            found = decode_format(data, "here") == STORE
        except UnsupportedVersionError as error:
            found = error.found == 0
        except CorruptError:
            found = False
        assert not found


def test_a_damaged_commit_of_a_preview_is_damage(flips) -> None:
    data = read(PREVIEW / "commits" / "00000000000000000000.json")
    for _, bad in flips(data):
        with pytest.raises((CorruptError, UnsupportedVersionError)) as caught:
            decode_commit(bad, "here")
        assert getattr(caught.value, "found", "") != 0


def sealed(data: bytes) -> bytes:
    """A document whose checksum is right, whatever else it says."""
    start = len(b'{"checksum":"')
    blank = data[:start] + b"0" * 16 + data[start + 16 :]
    return data[:start] + f"{checksum(blank):016x}".encode() + data[start + 16 :]


HEAD = b'{"checksum":"0000000000000000",'
NOT_COMMITS = {
    "another format": HEAD + b'"format":0,"segments":[{}]}',
    "no format": HEAD + b'"segments":[{}]}',
    "in another order": HEAD + b'"segments":[{}],"format":1}',
    "with a space": HEAD + b'"format":1, "segments":[{}]}',
    "with a line end": HEAD + b'"format":1,"segments":[{}]}\n',
    "cut": HEAD + b'"format":1,"segments":[{}',
    "not Unicode": HEAD + b'"format":1,"segments":[{"\xff":1}]}',
    "very deep": HEAD + b'"format":1,"segments":' + b"[" * 100_000,
    "no segment": HEAD + b'"format":1,"segments":[]}',
    "segments that are a number": HEAD + b'"format":1,"segments":7}',
    "segments that are one": HEAD + b'"format":1,"segments":{"bytes":1}}',
    "segments that are text": HEAD + b'"format":1,"segments":["a"]}',
    "one segment that is none": HEAD + b'"format":1,"segments":[{},7]}',
}


@pytest.mark.parametrize("data", NOT_COMMITS.values(), ids=NOT_COMMITS)
def test_a_document_under_a_right_checksum_that_is_no_commit_is_damage(data: bytes) -> None:
    with pytest.raises(CorruptError):
        decode_commit(sealed(data), "here")


def test_the_least_that_a_commit_of_a_preview_is_is_told_as_one() -> None:
    with pytest.raises(UnsupportedVersionError, match=r"transit 0\.1\.0"):
        decode_commit(sealed(HEAD + b'"format":1,"segments":[{}]}'), "here")


@pytest.mark.parametrize(("size", "shown"), [(63, True), (64, True), (65, False)])
def test_names_of_what_a_commit_needs_are_told_up_to_64_characters(size: int, shown: bool) -> None:
    name = "n" * size
    data = sealed(HEAD + b'"format":1,"needs":["' + name.encode() + b'","x"],"segments":[]}')
    with pytest.raises(UnsupportedVersionError) as caught:
        decode_commit(data, "here")
    assert caught.value.needs == ((name, "x") if shown else ("x",))

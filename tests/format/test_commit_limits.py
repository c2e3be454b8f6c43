"""What a commit or a FORMAT file says at its limits, and what is said of one that does not fit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from transit.errors import CorruptError, InvalidInputError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.commit import (
    COMMIT_BYTES_MAX,
    FORMAT_BYTES_MAX,
    Commit,
    IndexRef,
    SegmentRef,
    TreeState,
    check_link,
    decode_commit,
    decode_format,
    encode_commit,
    encode_format,
    root_of,
)

STORE = bytes(range(16))
TOP = 2**63 - 1


def segment(first: int, last: int, **changes: Any) -> SegmentRef:
    values: dict[str, Any] = {
        "digest": "ab" * 32,
        "footer": "cd" * 32,
        "chunks": "0a" * 32,
        "bytes": 1234,
        "records": last - first + 1,
        "streams": 2,
        "lsn": (first, last),
        "time": (-5, 7),
        "written": (3, 9),
    }
    return SegmentRef(**{**values, **changes})


def commit(number: int = 0, first: int = 0, **changes: Any) -> Commit:
    values: dict[str, Any] = {
        "format": 1,
        "store": STORE.hex(),
        "number": number,
        "epoch": 3,
        "write_id": "0f" * 16,
        "previous": "ef" * 32 if number else "",
        "segments": (segment(first, first + 9),),
        "tree": TreeState(size=number, range=("12" * 32,) * number.bit_count()),
    }
    return Commit(**{**values, **changes})


def said(error: pytest.ExceptionInfo[CorruptError]) -> tuple[str, str, str]:
    return error.value.place, error.value.expected, error.value.found


# Commits


@pytest.mark.parametrize(
    "given",
    [
        commit(TOP),
        commit(epoch=TOP),
        commit(epoch=0),
        commit(segments=(segment(TOP - 1, TOP),)),
        commit(segments=(segment(7, 7),)),
        commit(segments=(segment(7, 7), segment(8, 20), segment(21, 21))),
        commit(segments=(segment(0, 0, bytes=TOP, streams=TOP, time=(-(2**63), TOP)),)),
        commit(segments=(segment(0, 0, bytes=0, streams=0),)),
        commit(index=IndexRef(digest="00" * 32, bytes=TOP)),
        commit(5, index=IndexRef(digest="00" * 32, bytes=0)),
    ],
)
def test_a_commit_at_the_limits_comes_back(given: Commit) -> None:
    data = encode_commit(given)
    found = decode_commit(data, "here")
    assert msgspec.structs.replace(found, checksum="") == given
    assert found.next_lsn == given.segments[-1].lsn[1] + 1
    # Sixteen digits, whatever the number.
    blank = data.replace(found.checksum.encode(), b"0" * 16, 1)
    assert found.checksum == f"{checksum(blank):016x}"


def test_a_checksum_with_leading_zeros_has_sixteen_digits() -> None:
    for epoch in range(2000):
        data = encode_commit(commit(epoch=epoch))
        if data.startswith(b'{"checksum":"0'):
            assert decode_commit(data, "here").epoch == epoch
            return
    pytest.fail("none of 2000 checksums begins with a zero")


@pytest.mark.parametrize(
    ("given", "expected", "found"),
    [
        (commit(segments=()), "a segment", "none"),
        (commit(segments=(segment(0, 9, records=9),)), "a segment from LSN 0", "0"),
        (commit(segments=(segment(0, 9, records=11),)), "a segment from LSN 0", "0"),
        (commit(segments=(segment(5, 4),)), "a segment from LSN 5", "5"),
        (commit(segments=(segment(3, 9), segment(11, 12))), "a segment from LSN 10", "11"),
        (commit(segments=(segment(3, 9), segment(9, 12))), "a segment from LSN 10", "9"),
        (commit(4, tree=TreeState(size=5, range=("12" * 32,) * 2)), "a tree of 4", "5"),
        (commit(4, tree=TreeState(size=3, range=("12" * 32,) * 2)), "a tree of 4", "3"),
        (commit(4, tree=TreeState(size=4, range=())), "a tree of 4", "4"),
        (commit(4, tree=TreeState(size=4, range=("12" * 32,) * 2)), "a tree of 4", "4"),
        (commit(4, previous=""), "the root of the commit before", "none or one"),
        (commit(0, previous="12" * 32), "the root of the commit before", "none or one"),
    ],
)
def test_what_does_not_fit_in_a_commit_is_said(given: Commit, expected: str, found: str) -> None:
    with pytest.raises(CorruptError) as caught:
        decode_commit(encode_commit(given), "here")
    assert said(caught) == ("here", expected, found)


def test_a_checksum_that_does_not_fit_is_told() -> None:
    good = encode_commit(commit())
    for digits in (b"0" * 16, b"f" * 16):
        data = good[:13] + digits + good[29:]
        with pytest.raises(CorruptError) as caught:
            decode_commit(data, "here")
        assert said(caught) == ("here", "the commit's checksum", digits.decode())


@pytest.mark.parametrize("digits", ["0" * 15, "0" * 17, "", "A" * 16])
def test_a_checksum_of_another_shape_is_no_commit(digits: str) -> None:
    data = encode_commit(commit())
    with pytest.raises(CorruptError, match="expected canonical JSON"):
        decode_commit(data[:13] + digits.encode() + data[29:], "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("store", "00" * 15 + "0"),
        ("store", "00" * 16 + "0"),
        ("write_id", "0f" * 17),
        ("previous", "ef" * 31),
        ("previous", "ef" * 33),
        ("previous", "EF" * 32),
    ],
)
def test_hex_digits_of_another_count_or_case_are_no_commit(field: str, value: str) -> None:
    data = encode_commit(commit(1, **{field: value}))
    with pytest.raises(CorruptError, match="expected canonical JSON"):
        decode_commit(data, "here")


@pytest.mark.parametrize("size", [COMMIT_BYTES_MAX, COMMIT_BYTES_MAX + 1])
def test_bytes_over_the_limit_are_not_decoded(size: int) -> None:
    with pytest.raises(CorruptError) as caught:
        decode_commit(b"[" * size, "here")
    over = size > COMMIT_BYTES_MAX
    assert (caught.value.expected == f"at most {COMMIT_BYTES_MAX} bytes") == over
    assert (caught.value.found == str(size)) == over


@pytest.mark.parametrize("version", ["2", "10", "999999999"])
@pytest.mark.parametrize("space", ["", " ", "\n  "])
@pytest.mark.parametrize("end", [",", "}"])
def test_a_newer_version_is_named_however_it_is_written(version: str, space: str, end: str) -> None:
    data = f'{{"format":{space}{version}{end}'.encode()
    with pytest.raises(UnsupportedVersionError) as caught:
        decode_commit(data, "here")
    assert (caught.value.place, caught.value.found) == ("here", int(version))
    assert caught.value.supported == 1


@pytest.mark.parametrize("version", ["0", "1", "-2", "2.0", "1000000000", '"2"', "2]"])
def test_what_states_no_newer_version_is_corrupt(version: str) -> None:
    with pytest.raises(CorruptError, match="canonical JSON"):
        decode_commit(f'{{"format":{version},"more":1}}'.encode(), "here")


# Links


BEFORE = commit(4, 40)
ROOT = root_of(encode_commit(BEFORE))


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"store": "ff" * 16}, f"store {STORE.hex()}", "ff" * 16),
        ({"number": 4}, "number 5", "4"),
        ({"number": 6}, "number 5", "6"),
        ({"previous": "00" * 32}, f"previous root {ROOT}", "00" * 32),
        ({"previous": "ff" * 32}, f"previous root {ROOT}", "ff" * 32),
        ({"epoch": 2}, "epoch 3 or later", "2"),
        ({"segments": (segment(49, 58),)}, "LSN 50 next", "49"),
        ({"segments": (segment(51, 60),)}, "LSN 50 next", "51"),
    ],
)
def test_what_does_not_follow_is_said(changes: dict[str, Any], expected: str, found: str) -> None:
    following = commit(5, 50, previous=ROOT)
    check_link(following, BEFORE, ROOT, "here")
    check_link(msgspec.structs.replace(following, epoch=4), BEFORE, ROOT, "here")
    with pytest.raises(CorruptError) as caught:
        check_link(msgspec.structs.replace(following, **changes), BEFORE, ROOT, "here")
    assert said(caught) == ("here", expected, found)


@pytest.mark.parametrize(
    ("first", "expected", "found"),
    [
        (commit(1, 0, previous=""), "number 0", "1"),
        (commit(previous="12" * 32), "previous root ", "12" * 32),
        (commit(first=1), "LSN 0 next", "1"),
    ],
)
def test_what_is_no_first_commit_is_said(first: Commit, expected: str, found: str) -> None:
    check_link(commit(epoch=0), None, "", "here")
    with pytest.raises(CorruptError) as caught:
        check_link(first, None, "", "here")
    assert said(caught) == ("here", expected, found)


# FORMAT


@pytest.mark.parametrize("size", [FORMAT_BYTES_MAX, FORMAT_BYTES_MAX + 1])
def test_a_format_file_over_the_limit_is_not_decoded(size: int) -> None:
    with pytest.raises(CorruptError) as caught:
        decode_format(encode_format(STORE).ljust(size), "here")
    over = size > FORMAT_BYTES_MAX
    assert (caught.value.expected == f"at most {FORMAT_BYTES_MAX} bytes") == over
    assert (caught.value.found == "another spelling of it") != over


def test_hex_digits_with_a_line_end_after_them_are_no_commit() -> None:
    good = encode_commit(commit(1, index=IndexRef(digest="99" * 32, bytes=1)))
    values = [STORE.hex(), "0f" * 16, "ef" * 32, "ab" * 32, "cd" * 32, "12" * 32, "99" * 32]
    assert decode_commit(good, "here").number == 1
    for value in values:
        old = f'"{value}"'.encode()
        assert good.count(old) == 1, value
        blank = good.replace(old, f'"{value}\\n"'.encode())
        blank = blank[:13] + b"0" * 16 + blank[29:]
        data = blank[:13] + b"%016x" % checksum(blank) + blank[29:]
        with pytest.raises(CorruptError, match="expected canonical JSON"):
            decode_commit(data, "here")
    digits = decode_commit(good, "here").checksum.encode()
    with pytest.raises(CorruptError, match="expected canonical JSON"):
        decode_commit(good.replace(digits, digits + b"\\n"), "here")
    with pytest.raises(CorruptError, match="expected canonical JSON"):
        decode_format(encode_format(STORE).replace(b'"}', b'\\n"}'), "here")


@pytest.mark.parametrize("field", ["number", "epoch", "bytes", "records", "streams", "size"])
def test_counts_are_not_negative(field: str) -> None:
    data = encode_commit(commit(1, 10))
    at = data.index(b'"%s":' % field.encode()) + len(field) + 3
    stop = min(data.index(end, at) for end in (b",", b"}") if end in data[at:])
    with pytest.raises(CorruptError, match="Expected `int` >= 0"):
        decode_commit(data[:at] + b"-1" + data[stop:], "here")


def test_a_commit_has_65535_bytes_at_most_and_no_more_is_made() -> None:
    assert COMMIT_BYTES_MAX == 65_535
    one = len(encode_commit(commit(segments=(segment(0, 0),))))
    each = len(encode_commit(commit(segments=(segment(0, 0), segment(1, 1))))) - one
    # Numbers of one digit only, so that each reference has the same size.
    many = (65_535 - one) // each
    refs = tuple(segment(place, place) for place in range(many // 2))
    assert decode_commit(encode_commit(commit(segments=refs)), "here").segments == refs
    too_many = tuple(segment(place, place) for place in range(many + 2))
    with pytest.raises(InvalidInputError, match="the limit is 65535"):
        encode_commit(commit(segments=too_many))

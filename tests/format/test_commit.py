"""Commits and the FORMAT file: one spelling each, and a chain that only grows."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import CorruptError, FormatError, TransitError, UnsupportedVersionError
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
COUNT = st.integers(0, 2**63 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
HEX64 = st.binary(min_size=32, max_size=32).map(bytes.hex)
FORMAT = encode_format(STORE)


def segment_ref(first: int = 0, last: int = 9) -> SegmentRef:
    return SegmentRef(
        digest="ab" * 32,
        footer="cd" * 32,
        chunks="0a" * 32,
        bytes=1234,
        records=last - first + 1,
        streams=2,
        lsn=(first, last),
        time=(-5, 7),
        written=(3, 9),
    )


def commit(number: int = 0, first: int = 0, **changes: Any) -> Commit:
    values: dict[str, Any] = {
        "format": 1,
        "store": STORE.hex(),
        "number": number,
        "epoch": 3,
        "write_id": "0f" * 16,
        "previous": "ef" * 32 if number else "",
        "segments": (segment_ref(first, first + 9),),
        "tree": TreeState(size=number, range=("12" * 32,) * number.bit_count()),
    }
    return Commit(**{**values, **changes})


EXAMPLE = encode_commit(commit(3, 30, index=IndexRef(digest="77" * 32, bytes=9)))


def signed(data: bytes) -> bytes:
    """`data` with the checksum that fits it."""
    at = data.index(b'"checksum":"') + len('"checksum":"')
    blank = data[:at] + b"0" * 16 + data[at + 16 :]
    return data[:at] + b"%016x" % checksum(blank) + data[at + 16 :]


@st.composite
def commits(draw: st.DrawFn) -> Commit:
    lsn = draw(st.integers(0, 2**40))
    segments = []
    for _ in range(draw(st.integers(1, 4))):
        records = draw(st.integers(1, 2**30))
        segments.append(
            SegmentRef(
                digest=draw(HEX64),
                footer=draw(HEX64),
                chunks=draw(HEX64),
                bytes=draw(COUNT),
                records=records,
                streams=draw(COUNT),
                lsn=(lsn, lsn + records - 1),
                time=(draw(INT64), draw(INT64)),
                written=tuple(sorted((draw(INT64), draw(INT64)))),
            )
        )
        lsn += records
    number = draw(COUNT)
    hashes = tuple(draw(HEX64) for _ in range(number.bit_count()))
    return Commit(
        format=1,
        store=draw(st.binary(min_size=16, max_size=16)).hex(),
        number=number,
        epoch=draw(COUNT),
        write_id=draw(st.binary(min_size=16, max_size=16)).hex(),
        previous=draw(HEX64) if number else "",
        segments=tuple(segments),
        tree=TreeState(size=number, range=hashes),
        index=draw(st.none() | st.builds(IndexRef, digest=HEX64, bytes=COUNT)),
    )


@given(commits())
def test_a_commit_comes_back_and_is_canonical_json(given: Commit) -> None:
    data = encode_commit(given)
    plain = json.loads(data)
    decoded = decode_commit(data, "here")
    assert decoded == msgspec.structs.replace(given, checksum=plain["checksum"])
    assert encode_commit(decoded) == data
    assert signed(data) == data
    assert json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() == data
    assert ("index" in plain) == (given.index is not None)


def test_the_root_is_the_digest_of_the_bytes() -> None:
    assert len(root_of(EXAMPLE)) == 64
    assert root_of(EXAMPLE) != root_of(EXAMPLE + b" ")


def test_every_truncated_commit_is_refused(cuts) -> None:
    for data in cuts(EXAMPLE):
        with pytest.raises(CorruptError):
            decode_commit(data, "here")


def test_every_flipped_bit_of_a_commit_is_refused(flips) -> None:
    for _, data in flips(EXAMPLE):
        with pytest.raises(FormatError):
            decode_commit(data, "here")


def test_a_commit_changed_together_with_its_checksum_has_another_root(flips) -> None:
    good = decode_commit(EXAMPLE, "here")
    following = commit(4, 40, previous=root_of(EXAMPLE))
    check_link(following, good, root_of(EXAMPLE), "here")
    changed = 0
    for place, data in flips(EXAMPLE):
        if place < len('{"checksum":"') + 16:
            continue
        try:
            other = decode_commit(signed(data), "here")
        except FormatError:
            continue
        changed += 1
        assert other != good
        with pytest.raises(CorruptError):
            check_link(following, other, root_of(signed(data)), "here")
    assert changed


@pytest.mark.parametrize("version", [2, 10, 999_999_999])
@pytest.mark.parametrize("more", ['"new_field":[],', ""], ids=["unknown field", "known fields"])
def test_a_commit_of_another_version_is_refused_by_that_name(version: int, more: str) -> None:
    changed = f'"format":{version},{more}'.encode()
    data = EXAMPLE.replace(b'"format":1,', changed)
    with pytest.raises(UnsupportedVersionError) as caught:
        decode_commit(data, "here")
    assert caught.value.found == version


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"checksum"', b'{ "checksum"'),
        (b',"epoch":3', b',"epoch":3.0'),
        (b',"epoch":3', b',"epoch":3,"epoch":3'),
        (b',"epoch":3', b',"\\u0065poch":3'),
        (b',"epoch":3', b',"epoch":-3'),
        (b',"epoch":3', b',"epoch":true'),
        (b',"epoch":3', b',"epoch":"3"'),
        (b',"epoch":3', b',"epoch":9223372036854775808'),
        (b',"epoch":3', b',"epoch":' + b"9" * 400),
        (b',"epoch":3', b',"epoch":' + b"[" * 20_000),
        (b',"epoch":3,', b',"epoch":3,"extra":1,'),
        (b',"epoch":3,', b","),
        (b'{"checksum"', b'\xef\xbb\xbf{"checksum"'),
        (b'"format":1', b'"format":0'),
        (b'"format":1', b'"format":-1'),
        (b'"write_id":"0f', b'"write_id":"0F'),
        (b'"write_id":"0f', b'"write_id":"0'),
        (b'"write_id":"0f', b'"write_id":"\\n0f'),
        (b'"write_id":"0f', b'"write_id":"\xff'),
        (b'"number":3', b'"number":4'),
        (b'"size":3', b'"size":2'),
        (b'"lsn":[30,39]', b'"lsn":[30,38]'),
        (b'"lsn":[30,39]', b'"lsn":[39,30]'),
        (b'"lsn":[30,39]', b'"lsn":[30,39,40]'),
        (b'"records":10', b'"records":0'),
        (b'"time":[-5,7]', b'"time":[-9223372036854775809,7]'),
        (b'"index":{', b'"index":null,"x":{'),
    ],
)
def test_another_spelling_or_impossible_value_is_refused(old: bytes, new: bytes) -> None:
    assert EXAMPLE.count(old) == 1
    with pytest.raises(CorruptError) as caught:
        decode_commit(signed(EXAMPLE.replace(old, new)), "here")
    assert "checksum" not in caught.value.expected


@pytest.mark.parametrize(
    "changes",
    [
        {"segments": ()},
        {"segments": (segment_ref(0, 9), segment_ref(11, 12))},
        {"segments": (segment_ref(0, 9), segment_ref(9, 12))},
        {"segments": (segment_ref(5, 9), segment_ref(0, 4))},
        {"previous": "ef" * 32},
        {"tree": TreeState(size=0, range=("12" * 32,))},
        {"tree": TreeState(size=1, range=("12" * 32,))},
    ],
    ids=[
        "no segment",
        "gap",
        "overlap",
        "order",
        "root before the first",
        "too many hashes",
        "another size",
    ],
)
def test_a_commit_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CorruptError):
        decode_commit(encode_commit(commit(**changes)), "here")


def test_a_later_commit_without_a_previous_root_is_refused() -> None:
    with pytest.raises(CorruptError):
        decode_commit(encode_commit(commit(3, 30, previous="")), "here")


def test_a_commit_over_64_kib_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(CorruptError, match=str(COMMIT_BYTES_MAX)):
        decode_commit(b"[" * (COMMIT_BYTES_MAX + 1), "here")


# Links


def test_the_first_commit_follows_nothing() -> None:
    check_link(commit(), None, "", "here")


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 2},
        {"number": 0, "previous": "12" * 32},
        {"previous": "12" * 32},
        {"epoch": 2},
        {"store": "00" * 16},
        {"segments": (segment_ref(9, 18),)},
        {"segments": (segment_ref(11, 20),)},
    ],
)
def test_a_commit_that_does_not_follow_is_refused(changes: dict[str, Any]) -> None:
    before = commit()
    root = root_of(encode_commit(before))
    check_link(commit(1, 10, previous=root), before, root, "here")
    check_link(commit(1, 10, previous=root, epoch=4), before, root, "here")
    follower = msgspec.structs.replace(commit(1, 10, previous=root), **changes)
    with pytest.raises(CorruptError):
        check_link(follower, before, root, "here")


@pytest.mark.parametrize("changes", [{"number": 1}, {"segments": (segment_ref(1, 9),)}])
def test_a_first_commit_that_is_not_the_first_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CorruptError):
        check_link(msgspec.structs.replace(commit(), **changes), None, "", "here")


# FORMAT


@given(st.binary(min_size=16, max_size=16))
def test_a_format_file_comes_back(store_id: bytes) -> None:
    data = encode_format(store_id)
    assert decode_format(data, "here") == store_id
    assert json.loads(data) == {"kind": "transit-store", "format": 1, "store": store_id.hex()}


def test_every_truncated_format_file_is_refused(cuts) -> None:
    for data in (*cuts(FORMAT), FORMAT + b"\n"):
        with pytest.raises(CorruptError):
            decode_format(data, "here")


def test_every_flipped_bit_of_a_format_file_is_refused_or_another_store_id(flips) -> None:
    for _, data in flips(FORMAT):
        try:
            found = decode_format(data, "here")
        except TransitError:
            continue
        assert found != STORE
        assert encode_format(found) == data


def test_a_format_file_of_another_version_is_refused_by_that_name() -> None:
    with pytest.raises(UnsupportedVersionError):
        decode_format(FORMAT.replace(b":1,", b":2,").replace(b"}", b',"more":1}'), "here")


def test_a_format_file_over_4_kib_is_refused() -> None:
    with pytest.raises(CorruptError):
        decode_format(FORMAT + b" " * FORMAT_BYTES_MAX, "here")

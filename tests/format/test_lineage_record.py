"""Records of stream 0: one spelling each, and only ids and offsets that can be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import CorruptError, InvalidInputError
from transit.format.lineage import (
    LINEAGE_RECORD,
    Branch,
    LineageRecord,
    Merge,
    Root,
    check_metadata,
    decode_lineage,
    encode_lineage,
    kind_of,
    triples,
)

ID = 50
WITH_UID = b'"uid":"0123456789abcdef0123456789abcdef"'
TEXT = st.text(max_size=12)
IDS = st.integers(1, ID - 1)
OFFSETS = st.integers(-1, 2**63 - 2)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
SHARED: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXT,
    "uid": st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}"),
    "metadata": st.dictionaries(TEXT, SCALARS, max_size=3),
    "codec": st.none() | st.just("json"),
}
ROOTS = st.builds(Root, **SHARED)
BRANCHES = st.builds(Branch, parent=IDS, fork=OFFSETS, **SHARED)
MERGES = st.builds(
    Merge,
    merge_id=TEXT,
    parents=st.lists(st.tuples(IDS, OFFSETS), min_size=2, max_size=4, unique_by=lambda p: p[0]).map(
        tuple
    ),
    base=st.none() | st.tuples(IDS, OFFSETS),
    policy=TEXT,
    version=st.integers(0, 9),
    params=st.dictionaries(TEXT, SCALARS, max_size=3),
    plan=st.lists(st.tuples(IDS, st.integers(0, 2**62), st.integers(1, 2**60)), max_size=3).map(
        lambda plan: tuple(number for triple in plan for number in triple)
    ),
    **SHARED,
)
UID = "0123456789abcdef" * 2
MERGE = Merge(
    name="m",
    uid=UID,
    merge_id="id",
    parents=((1, 4), (2, -1)),
    base=(1, 2),
    policy="append",
    version=1,
    params={"selected": "a"},
    plan=(1, 0, 5, 2, 3, 1),
)
EXAMPLES = [
    Root(name="täsk", uid=UID, metadata={"a": 1, "b": None, "c": 1.5}, codec="json"),
    Branch(name="b", uid=UID, parent=3, fork=17),
    MERGE,
]


def decode(payload: bytes) -> LineageRecord:
    return decode_lineage(payload, ID)


@pytest.mark.slow
@given(ROOTS | BRANCHES | MERGES)
def test_a_lineage_record_comes_back_and_is_canonical_json(record: LineageRecord) -> None:
    payload = encode_lineage(record)
    assert decode(payload) == record
    assert encode_lineage(decode(payload)) == payload
    plain = json.loads(payload)
    assert plain["kind"] == kind_of(record)
    assert plain.get("metadata", {}) == record.metadata
    assert list(plain) == sorted(plain)


def test_where_own_records_start_follows_from_the_record() -> None:
    assert Root(name="r").start == 0
    assert Branch(name="b", parent=1, fork=-1).start == 0
    assert Branch(name="b", parent=1, fork=17).start == 18
    assert MERGE.start == 6
    assert list(triples(MERGE.plan)) == [(1, 0, 5), (2, 3, 1)]


def test_the_first_lineage_record_names_the_lineage_stream() -> None:
    assert encode_lineage(LINEAGE_RECORD) == b'{"kind":"root","name":"$lineage"}'
    assert decode_lineage(encode_lineage(LINEAGE_RECORD), 0) == LINEAGE_RECORD


@pytest.mark.parametrize("record", EXAMPLES, ids=kind_of)
def test_every_truncated_lineage_record_is_refused(record, cuts) -> None:
    payload = encode_lineage(record)
    for data in (*cuts(payload), payload + b" ", payload + payload):
        with pytest.raises(CorruptError):
            decode(data)


@pytest.mark.parametrize("record", EXAMPLES, ids=kind_of)
def test_every_flipped_bit_is_refused_or_another_canonical_record(record, flips) -> None:
    for _, data in flips(encode_lineage(record)):
        try:
            other = decode(data)
        except CorruptError:
            continue
        assert other != record
        assert encode_lineage(other) == data


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"kind":"root"}',
        b'{"kind":"other","name":"a",@}',
        b'{"kind":1,"name":"a",@}',
        b'{"kind":"root","name":1,@}',
        b'{"kind":"root","name":"a","extra":1,@}',
        b'{"kind":"root","name":"a","name":"a",@}',
        b'{"kind":"root","name":"\\u0061",@}',
        b'{"name":"a","kind":"root"}',
        b'{"kind": "root","name":"a",@}',
        b'{"kind":"root","name":"\xff",@}',
        b'{"kind":"root","name":"\\ud800",@}',
        b'{"codec":null,"kind":"root","name":"a",@}',
        b'{"kind":"root","metadata":{},"name":"a",@}',
        b'{"kind":"root","metadata":{"a":[]},"name":"a",@}',
        b'{"kind":"root","metadata":{"a":1e999},"name":"a",@}',
        b'{"kind":"root","metadata":{"a":NaN},"name":"a",@}',
        b'{"kind":"root","metadata":{"a":1.50},"name":"a",@}',
        b'{"kind":"root","metadata":{"a":' + b"9" * 30 + b'},"name":"a",@}',
        b'{"kind":"root","metadata":{"a":' + b"9" * 5000 + b'},"name":"a",@}',
        b'{"kind":"root","metadata":' + b'{"a":' * 50_000,
        b'{"fork":1,"kind":"branch","name":"a",@}',
        b'{"fork":1,"kind":"branch","name":"a","parent":0,@}',
        b'{"fork":1,"kind":"branch","name":"a","parent":-1,@}',
        b'{"fork":1,"kind":"branch","name":"a","parent":50,@}',
        b'{"fork":1,"kind":"branch","name":"a","parent":51,@}',
        b'{"fork":-2,"kind":"branch","name":"a","parent":1,@}',
        b'{"fork":1.0,"kind":"branch","name":"a","parent":1,@}',
        b'{"fork":' + b"9" * 30 + b',"kind":"branch","name":"a","parent":1,@}',
        b'{"fork":18446744073709551615,"kind":"branch","name":"a","parent":1,@}',
    ],
)
def test_other_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(CorruptError):
        decode(payload.replace(b"@", WITH_UID))


@pytest.mark.parametrize(
    "uid",
    [
        b"",
        b"0" * 31,
        b"0" * 33,
        b"0" * 31 + b"\\n",
        b"0" * 32 + b"\\n",
        b"A" * 32,
        b"g" * 32,
        b"01234567-89ab-cdef-0123-456789abcdef",
        "٣".encode() * 32,
        b"\\u0030" * 32,
    ],
)
def test_a_uid_is_32_lower_case_hex_digits(uid: bytes) -> None:
    payload = b'{"kind":"root","name":"a","uid":"%s"}'
    assert decode(payload % UID.encode()) == Root(name="a", uid=UID)
    with pytest.raises(CorruptError):
        decode(payload % uid)


@pytest.mark.parametrize("uid", [b'"uid":null', b'"uid":7', b'"uid":["%s"]' % (b"0" * 32)])
def test_a_uid_that_is_no_text_is_refused(uid: bytes) -> None:
    with pytest.raises(CorruptError):
        decode(b'{"kind":"root","name":"a",%s}' % uid)


def test_every_stream_has_a_uid_but_the_lineage_itself() -> None:
    for stream_id in (1, ID, 2**62):
        with pytest.raises(CorruptError, match="found no uid"):
            decode_lineage(encode_lineage(LINEAGE_RECORD), stream_id)
    with pytest.raises(CorruptError, match="found a uid"):
        decode_lineage(encode_lineage(Root(name="$lineage", uid=UID)), 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"parents": ()},
        {"parents": ((1, 0),)},
        {"parents": ((1, 0), (1, 1))},
        {"parents": ((1, 0), (0, 0))},
        {"parents": ((1, 0), (ID, 0))},
        {"parents": ((1, 0), (-1, 0))},
        {"parents": ((1, 0), (2, -2))},
        {"base": (0, 1)},
        {"base": (ID, 1)},
        {"base": (1, -2)},
        {"plan": (1,)},
        {"plan": (1, 0, 5, 2)},
        {"plan": (1, 0, 0)},
        {"plan": (1, 0, -1)},
        {"plan": (1, -1, 1)},
        {"plan": (ID, 0, 1)},
        {"plan": (-1, 0, 1)},
        {"plan": (1, 0, 2**62, 2, 0, 2**62)},
        {"parents": ((1, 0), (2, 2**63 - 1))},
    ],
    ids=repr,
)
def test_a_merge_of_what_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    fields = {name: getattr(MERGE, name) for name in MERGE.__struct_fields__}
    assert decode(encode_lineage(Merge(**fields))) == MERGE
    with pytest.raises(CorruptError):
        decode(encode_lineage(Merge(**{**fields, **changes})))


def test_a_record_refers_to_smaller_ids_only() -> None:
    payload = encode_lineage(Branch(name="b", uid=UID, parent=7, fork=0))
    assert decode_lineage(payload, 8)
    for stream_id in (0, 6, 7):
        with pytest.raises(CorruptError):
            decode_lineage(payload, stream_id)


def test_text_that_is_not_unicode_is_refused_when_encoded() -> None:
    for record in (Root(name="\ud800"), Root(name="a", metadata={"a": "\udfff"})):
        with pytest.raises(InvalidInputError):
            encode_lineage(record)


# Metadata


@given(st.dictionaries(TEXT, SCALARS, max_size=5))
def test_metadata_of_scalars_is_copied(metadata: dict[str, Any]) -> None:
    copied = check_metadata(metadata, "here")
    assert copied == metadata
    assert copied is not metadata


def test_no_metadata_is_empty_metadata() -> None:
    assert check_metadata(None, "here") == {}


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        "text",
        {1: "a"},
        {"a": []},
        {"a": {}},
        {"a": b"bytes"},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": -float("inf")},
        {"a": 2**63},
        {"a": -(2**63) - 1},
    ],
    ids=repr,
)
def test_metadata_that_is_not_text_to_scalars_is_refused(metadata: Any) -> None:
    with pytest.raises(InvalidInputError):
        check_metadata(metadata, "here")

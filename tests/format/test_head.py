"""HEAD, the hint: read when it is one for this store, no hint otherwise, and never an error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.format.head import HEAD_BYTES_MAX, Head, decode_head, encode_head

STORE = bytes(range(16))
EXAMPLE = encode_head(STORE, 12, 8)
NUMBER = st.integers(0, 2**63 - 1)


@given(st.binary(min_size=16, max_size=16), NUMBER, st.none() | NUMBER)
def test_a_hint_comes_back_and_is_canonical_json(
    store_id: bytes, number: int, back: int | None
) -> None:
    index = None if back is None else max(number - back, 0)
    data = encode_head(store_id, number, index)
    head = decode_head(data, store_id, "here")
    assert head == Head(
        kind="transit-head", format=1, store=store_id.hex(), number=number, index=index
    )
    assert len(data) <= HEAD_BYTES_MAX
    plain = {
        "kind": "transit-head",
        "format": 1,
        "store": store_id.hex(),
        "number": number,
        "index": index,
    }
    assert json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() == data


def test_a_hint_may_be_of_a_commit_that_is_an_index_itself() -> None:
    head = decode_head(encode_head(STORE, 12, 12), STORE, "here")
    assert head is not None
    assert (head.number, head.index) == (12, 12)


def test_every_truncated_hint_is_no_hint(cuts) -> None:
    for data in (*cuts(EXAMPLE), EXAMPLE + b"\n"):
        assert decode_head(data, STORE, "here") is None


def test_every_flipped_bit_of_a_hint_is_no_hint_or_a_hint_of_another_number(flips) -> None:
    taken = 0
    for _, data in flips(EXAMPLE):
        head = decode_head(data, STORE, "here")
        if head is not None:
            taken += 1
            assert (head.number, head.index) != (12, 8)
            assert encode_head(STORE, head.number, head.index) == data
    assert taken


@given(st.binary(max_size=200))
def test_junk_is_no_hint(data: bytes) -> None:
    assert decode_head(data, STORE, "here") is None


def test_a_hint_of_another_store_is_no_hint() -> None:
    assert decode_head(EXAMPLE, STORE, "here") is not None
    assert decode_head(EXAMPLE, STORE[::-1], "here") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"number":12', b'"number":' + b"9" * 19),
        (b'"number":12', b'"number":' + b"9" * 400),
        (b'"number":12', b'"number":-1'),
        (b'"number":12', b'"number":12.0'),
        (b'"number":12', b'"number":1e400'),
        (b'"number":12', b'"number":"12"'),
        (b'"number":12', b'"number":null'),
        (b'"number":12', b'"number": 12'),
        (b'"number":12', b'"number":7'),
        (b'"number":12', b'"number":12,"more":1'),
        (b'"number":12', b'"number":' + b"[" * 900),
        (b'"number":12', b'"number":12' + b" " * 2**20),
        (b'"number":12,', b""),
        (b'"index":8,', b""),
        (b'"index":8', b'"index":13'),
        (b'"index":8', b'"index":-1'),
        (b'"index":8', b'"index":true'),
        (b'"kind":"transit-head"', b'"kind":"transit"'),
        (b'"kind":"transit-head"', b'"kind":"\xff"'),
        (b'"format":1', b'"format":0'),
        (b'"format":1', b'"format":2'),
        (EXAMPLE, b""),
        (EXAMPLE, b"null"),
        (EXAMPLE, b"[" * 100_000),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_not_quite_a_hint_is_no_hint(old: bytes, new: bytes) -> None:
    assert EXAMPLE.count(old) == 1
    assert decode_head(EXAMPLE.replace(old, new), STORE, "here") is None

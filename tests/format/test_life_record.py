"""The records of `$names`: round trip, every truncation, every bit flip, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest

from transit.errors import CorruptError, InvalidInputError
from transit.format.life import (
    LIFE_BYTES_MIN,
    NAMES_ID,
    Keep,
    Life,
    check_reason,
    decode_life,
    encode_life,
    life_key,
)

LIVES = [
    Life(stream=1, streams=2),
    Life(stream=7, streams=9, hidden=True, reason="mistaken: é"),
    Life(stream=7, streams=9, finished=0),
    Life(stream=2**40, streams=2**41, finished=2**62, hidden=True, deleted=True, erased=True),
    Life(
        stream=3,
        streams=4,
        trimmed=9,
        freed=5,
        freed_bytes=70,
        here=True,
        locked_until=-1,
        basis="court",
    ),
    Life(stream=3, streams=4, holds=("a", "é"), keep=Keep(keep_for=1, count_max=2**63 - 1)),
]


@pytest.mark.parametrize("life", LIVES)
def test_a_record_comes_back(life: Life) -> None:
    data = encode_life(life)
    assert decode_life(data, 5) == life
    assert len(data) >= LIFE_BYTES_MIN


def test_the_bytes_are_those_of_the_format() -> None:
    assert encode_life(LIVES[0]) == b'{"stream":1,"streams":2}'
    assert encode_life(LIVES[1]) == (
        '{"hidden":true,"reason":"mistaken: é","stream":7,"streams":9}'.encode()
    )
    assert encode_life(LIVES[2]) == b'{"finished":0,"stream":7,"streams":9}'
    assert len({life_key(stream) for stream in range(1000)}) == 1000


def test_the_streams_id_and_the_keys_are_those_of_the_format() -> None:
    assert NAMES_ID == 9_223_372_036_854_775_807
    assert (life_key(1), life_key(7)) == (12_678_750_854_950_657_597, 886_856_488_844_628_992)


@pytest.mark.parametrize("life", LIVES)
def test_every_truncation_is_refused_and_no_bit_flip_is_taken_for_the_same(life: Life) -> None:
    data = encode_life(life)
    for size in range(len(data)):
        with pytest.raises(CorruptError):
            decode_life(data[:size], 0)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with suppress(CorruptError):
            assert decode_life(bytes(flipped), 0) != life


@pytest.mark.parametrize(
    "data",
    [
        b'{"stream":0,"streams":2}',
        b'{"stream":2,"streams":2}',
        b'{"stream":-1,"streams":2}',
        b'{"stream":1,"streams":%d}' % NAMES_ID,
        b'{"stream":1,"streams":%d}' % (NAMES_ID + 1),
        b'{"stream":1,"streams":%d}' % 2**64,
        b'{"stream":1}',
        b'{"streams":2}',
        b'{"stream":1,"streams":2,"other":1}',
        b'{"stream":1,"streams":2,"trimmed":-1}',
        b'{"stream":1,"streams":2,"trimmed":0}',
        b'{"freed":2,"stream":1,"streams":2,"trimmed":1}',
        b'{"freed_bytes":-1,"stream":1,"streams":2}',
        b'{"here":true,"stream":1,"streams":2}',
        b'{"locked_until":-2,"stream":1,"streams":2}',
        b'{"basis":"owner","stream":1,"streams":2}',
        b'{"basis":"because","stream":1,"streams":2}',
        b'{"keep":{},"stream":1,"streams":2}',
        b'{"keep":{"keep_for":0},"stream":1,"streams":2}',
        b'{"keep":{"keep_until":1},"stream":1,"streams":2}',
        b'{"holds":[],"stream":1,"streams":2}',
        b'{"holds":[""],"stream":1,"streams":2}',
        b'{"holds":["b","a"],"stream":1,"streams":2}',
        b'{"holds":["a","a"],"stream":1,"streams":2}',
        b'{"holds":["%s"],"stream":1,"streams":2}' % (b"a" * 1025),
        b'{"streams":2,"stream":1}',
        b'{"stream":1, "streams":2}',
        b'{"stream":1.0,"streams":2}',
        b'{"hidden":false,"stream":1,"streams":2}',
        b'{"reason":"","stream":1,"streams":2}',
        b'{"finished":null,"stream":1,"streams":2}',
        b'{"finished":-1,"stream":1,"streams":2}',
        b'{"deleted":true,"stream":1,"streams":2}',
        b'{"deleted":true,"hidden":true,"stream":1,"streams":2}',
        b'{"deleted":true,"finished":1,"stream":1,"streams":2}',
        b'{"erased":true,"finished":1,"hidden":true,"stream":1,"streams":2}',
        b'{"reason":"%s","stream":1,"streams":2}' % (b"x" * 1025),
        b"[1,2]",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptError, match="names@3"):
        decode_life(data, 3)


def test_a_reason_is_short_text() -> None:
    assert check_reason("é" * 512) == "é" * 512
    for bad in (None, 5, "é" * 513, "\ud800", b"x"):
        with pytest.raises(InvalidInputError):
            check_reason(bad)

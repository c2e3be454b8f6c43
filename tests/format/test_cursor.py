"""Records of cursors: what is written comes back, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from transit.errors import CorruptError, InvalidInputError
from transit.format.cursor import (
    START,
    STATE_BYTES_MAX,
    CursorRecord,
    check_state,
    decode_cursor,
    encode_cursor,
    owner_of,
)

POSITIONS = st.integers(0, 2**63 - 1)


@given(POSITIONS, st.none() | st.binary(max_size=50))
@example(0, None)
@example(0, b"")
@example(2**63 - 1, b"\n")
@example(10, b"\r\n\0\xff")
@example(7, b"x" * STATE_BYTES_MAX)
def test_a_position_and_its_state_come_back(position: int, state: bytes | None) -> None:
    record = CursorRecord(position, state)
    assert decode_cursor(encode_cursor(record), "here") == record


def test_the_bytes_are_those_the_docstring_shows() -> None:
    assert encode_cursor(CursorRecord(42, None)) == b"42"
    assert encode_cursor(CursorRecord(42, b'{"sum":7}')) == b'42\n{"sum":7}'
    assert encode_cursor(START) == b"0"
    assert encode_cursor(CursorRecord(0, b"")) == b"0\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\nstate",
        b"-1",
        b"+1",
        b"00",
        b"042",
        b" 42",
        b"42 ",
        b"42\r\n",
        b"4_2",
        b"4.0",
        b"42x",
        "٤٢".encode(),
        str(2**63).encode(),
        b"9" * 19,
        b"1" + b"0" * 19,
        b"42\n" + b"x" * (STATE_BYTES_MAX + 1),
    ],
)
def test_other_bytes_are_damage_that_names_its_place(data: bytes) -> None:
    with pytest.raises(CorruptError) as caught:
        decode_cursor(data, "the record")
    error = caught.value
    assert (error.place, error.expected) == ("the record", "a position")
    # Of long bytes only the beginning is told.
    assert error.found == repr(data[:40])


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_state_is_any_bytes_and_kept_as_they_were(kind: type) -> None:
    for size in (0, 1, STATE_BYTES_MAX):
        kept = check_state(kind(b"s" * size))
        assert (type(kept), kept) == (bytes, b"s" * size)
    changed = bytearray(b"first")
    kept = check_state(changed)
    changed[:] = b"later"
    assert kept == b"first"
    assert check_state(None) is None


@pytest.mark.parametrize("state", ["text", 7, [1], True, object()])
def test_a_state_that_is_not_bytes_is_refused_by_its_type(state: object) -> None:
    with pytest.raises(InvalidInputError, match=f"bytes, not {type(state).__name__}"):
        check_state(state)


def test_a_state_over_the_limit_is_refused_with_its_size() -> None:
    with pytest.raises(InvalidInputError, match="state of 65537 bytes; the most is 65536"):
        check_state(bytes(STATE_BYTES_MAX + 1))


def test_a_cursors_stream_says_whose_it_is() -> None:
    assert owner_of("$cursors/7/c") == (7, "c")
    assert owner_of("$cursors/1234567890123456789/a/b\nc") == (1234567890123456789, "a/b\nc")
    others = ("c", "$cursors", "$cursors/7", "$cursors/7/", "$cursors/0/c", "$cursors/07/c")
    for name in (*others, "$cursors/x/c", "x$cursors/7/c", "$cursors/12345678901234567890/c"):
        assert owner_of(name) is None, name

"""Names users choose, and names of files, which users never choose."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import InvalidInputError
from transit.format.names import (
    check_name,
    commit_name,
    cursor_stream_name,
    index_name,
    merge_key,
    name_key,
    parse_commit_name,
    parse_index_name,
    parse_segment_name,
    parse_wal_name,
    segment_name,
    wal_name,
)

PLAIN = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=40)


@given(PLAIN)
def test_text_without_control_characters_is_a_name_unless_its_ends_say_otherwise(
    name: str,
) -> None:
    if name[0] == "$" or name != name.strip():
        with pytest.raises(InvalidInputError):
            check_name(name)
    else:
        assert check_name(name) == name


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_refused(name: str) -> None:
    control = any(unicodedata.category(character)[0] == "C" for character in name)
    good = bool(name) and not control and name[0] != "$" and name == name.strip()
    if good:
        assert check_name(name) == name
    else:
        with pytest.raises(InvalidInputError):
            check_name(name)


@pytest.mark.parametrize("name", ["a", "a b", "a/b", "..", "/", "a$", "é", "e\u0301", "名", "🙂"])
def test_names_may_hold_whatever_is_printed(name: str) -> None:
    assert check_name(name) == name


STORE_OWN = ["", "$a", "$"]
WHITE = [" a", "a ", "\ta", "a\n", "\u00a0a", "a\u2003"]
CONTROL = ["a\0b", "a\x7f", "a\u0085", "a\u200b", "a\u202eb", "\ud800", "a\ue000", "a\U000e0001"]


@pytest.mark.parametrize("name", [*STORE_OWN, *WHITE, *CONTROL], ids=ascii)
def test_names_that_mislead_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        check_name(name)


@pytest.mark.parametrize("name", [None, 1, b"a", ["a"], ("a",)])
def test_names_that_are_no_text_are_refused(name: object) -> None:
    with pytest.raises(InvalidInputError, match="must be str"):
        check_name(name)


@pytest.mark.parametrize(("character", "fits"), [("a", 512), ("é", 256), ("名", 170), ("🙂", 128)])
def test_names_have_at_most_512_bytes_of_utf8(character: str, fits: int) -> None:
    assert check_name(character * fits)
    with pytest.raises(InvalidInputError, match="512"):
        check_name(character * (fits + 1))


def test_a_huge_name_is_refused_without_looking_at_all_of_it() -> None:
    with pytest.raises(InvalidInputError):
        check_name("é" * 50_000_000)


def test_the_message_says_what_was_named() -> None:
    with pytest.raises(InvalidInputError, match="cursor name"):
        check_name("", "cursor name")


# Keys of indexes


def test_cursor_streams_are_reserved_and_distinct() -> None:
    names = {cursor_stream_name(s, c) for s in (1, 11) for c in ("a", "1/a", "b")}
    assert len(names) == 6
    for name in names:
        with pytest.raises(InvalidInputError):
            check_name(name)


def test_a_merge_id_and_a_stream_of_the_same_name_have_different_keys() -> None:
    assert name_key("a") != merge_key("a")
    assert name_key("$merge/a") == merge_key("a")
    assert 0 <= name_key("a") < 2**64


# File names


@given(st.integers(0, 2**64 - 1))
def test_numbers_in_file_names_come_back_and_sort(number: int) -> None:
    assert parse_wal_name(wal_name(number)) == number
    assert parse_commit_name(commit_name(number)) == number
    assert wal_name(number) <= wal_name(2**64 - 1)


SIZES = ["", "1", "0" * 19, "0" * 21]
SIGNS = ["-" + "0" * 19, "+" + "0" * 19, " " + "0" * 19, "0" * 18 + "_0", "0" * 20 + "\n"]
DIGITS = ["\u0660" * 20, "\uff11" * 20, "x" * 20, "0x" + "0" * 18]


@pytest.mark.parametrize("stem", [*SIZES, *SIGNS, *DIGITS], ids=ascii)
def test_other_file_names_are_not_ours(stem: str) -> None:
    assert parse_wal_name(f"{stem}.wal") is None
    assert parse_commit_name(f"{stem}.json") is None
    assert parse_wal_name(f"{stem}.wal.temporary") is None


@pytest.mark.parametrize(
    "name", ["0" * 20, "0" * 20 + ".wal\n", "0" * 20 + "xwal", "0" * 20 + ".WAL"]
)
def test_other_endings_are_not_ours(name: str) -> None:
    assert parse_wal_name(name) is None
    assert parse_commit_name(name) is None


def test_segments_and_snapshots_are_named_by_their_digests() -> None:
    assert segment_name(b"\xab" * 32) == "ab" * 32 + ".seg"
    assert index_name(b"\xab" * 32) == "ab" * 32 + ".idx"


@given(st.binary(min_size=32, max_size=32))
def test_digests_in_file_names_come_back(digest: bytes) -> None:
    assert parse_segment_name(segment_name(digest)) == digest
    assert parse_index_name(index_name(digest)) == digest
    assert parse_segment_name(index_name(digest)) is None
    assert parse_index_name(segment_name(digest)) is None


HEX_SIZES = ["", "ab", "a" * 63, "a" * 65, "a" * 64 + "\n"]
HEX_DIGITS = ["A" * 64, "g" * 64, "\uff41" * 64, "\u0660" * 64, " " + "a" * 63, "0x" + "a" * 62]


@pytest.mark.parametrize("stem", [*HEX_SIZES, *HEX_DIGITS], ids=ascii)
def test_other_digests_in_file_names_are_not_ours(stem: str) -> None:
    assert parse_segment_name(f"{stem}.seg") is None
    assert parse_index_name(f"{stem}.idx") is None


@pytest.mark.parametrize("ending", ["", "xseg", ".SEG", ".seg\n", ".idx\n", ".seg.temporary"])
def test_other_endings_after_a_digest_are_not_ours(ending: str) -> None:
    assert parse_segment_name("ab" * 32 + ending) is None
    assert parse_index_name("ab" * 32 + ending) is None

"""Names users choose, and names of files, which users never choose."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import InvalidInputError
from transit.format import names
from transit.format.names import (
    check_name,
    commit_name,
    cursor_stream_name,
    index_name,
    known_name,
    merge_key,
    name_key,
    parse_commit_name,
    parse_index_name,
    parse_segment_name,
    parse_wal_name,
    segment_name,
    stored_name,
    wal_name,
)

PLAIN = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"]), min_size=1, max_size=40
)

# The rule, from the property files of Unicode: Cc, Zl, Zp, Cs and Bidi_Control.
REFUSED = {
    *range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, 0x2028, 0x2029,
    *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000),
}  # fmt: skip


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
    refused = not REFUSED.isdisjoint(map(ord, name))
    good = bool(name) and not refused and name[0] != "$" and name == name.strip()
    if good:
        assert check_name(name) == name
    else:
        with pytest.raises(InvalidInputError):
            check_name(name)


def is_refused(character: str) -> bool:
    try:
        return not check_name(f"a{character}b")
    except InvalidInputError:
        return True


def test_the_rule_is_the_same_for_every_character_on_every_python() -> None:
    assert {point for point in range(0x110000) if is_refused(chr(point))} == REFUSED


def test_white_space_at_the_ends_is_what_unicode_says_it_is() -> None:
    white = {0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000}
    for point in white:
        assert check_name(f"a{chr(point)}b")
        for name in (chr(point) + "a", "a" + chr(point)):
            with pytest.raises(InvalidInputError, match="white space"):
                check_name(name)


def test_the_rule_does_not_ask_the_running_python() -> None:
    tree = ast.parse(Path(names.__file__).read_text())
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    asked = {"isprintable", "isspace", "strip", "isidentifier", "isalnum", "category", "normalize"}
    assert "unicodedata" not in Path(names.__file__).read_text()
    assert not called & asked


# Families, flags, Persian and Hindi with joiners, a variation selector, private use, not assigned.
JOINED = ["\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f3f4\U000e0067\U000e0062\U000e007f"]
WRITTEN = [
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\u0915\u094d\u200d\u0937",
    "\u2764\ufe0f",
]
LATER = ["\ue000", "\U000e0080", "\u0378", "\U0001fadf", "\ufdd0", "\U0010ffff"]


@pytest.mark.parametrize("name", [*JOINED, *WRITTEN, *LATER], ids=ascii)
def test_names_may_hold_what_people_write(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["a", "a b", "a/b", "..", "/", "a$", "é", "e\u0301", "名", "🙂"])
def test_names_may_hold_whatever_is_printed(name: str) -> None:
    assert check_name(name) == name


def test_names_that_look_the_same_are_different_names() -> None:
    assert check_name("e\u0301") != check_name("\u00e9")
    assert name_key("e\u0301") != name_key("\u00e9")


# What is there is found by any name that a store may hold.


@pytest.mark.parametrize(
    "name", ["a\u2028b", " a", "a\0b", "\u202ea", "a" * 600, "\u061c"], ids=ascii
)
def test_a_name_of_older_rules_is_known_where_it_is_there(name: str) -> None:
    assert stored_name(name) == name
    assert known_name(name, "stream name", {name}.__contains__) == name
    with pytest.raises(InvalidInputError):
        known_name(name, "stream name", set().__contains__)


@pytest.mark.parametrize("name", ["", "$a", "a\ud800", None, 5], ids=repr)
def test_what_no_store_can_hold_is_not_even_looked_for(name: object) -> None:
    with pytest.raises(InvalidInputError):
        known_name(name, "stream name", pytest.fail)


STORE_OWN = ["", "$a", "$"]
WHITE = [" a", "a ", "\ta", "a\n", "\u00a0a", "a\u2003"]
CONTROL = ["a\0b", "a\x7f", "a\u0085", "a\u2028b", "a\u202eb", "\ud800", "a\u200fb", "a\u2069"]


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

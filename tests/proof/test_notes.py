"""Signed notes: what is one, what is none and why, and bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import InvalidInputError, ProofError
from transit.proof.notes import (
    NOTE_BYTES_MAX,
    SIGNATURES_MAX,
    Note,
    NoteSignature,
    is_key_name,
    parse_note,
    parse_signatures,
)

LINE = "\u2014 example.com/a AAAAAQI=\n"
SIGNATURE = NoteSignature("example.com/a", bytes(3) + b"\x01", b"\x02")


def test_a_note_is_a_text_an_empty_line_and_signature_lines() -> None:
    note = parse_note(f"one\n\ntwo\n\n{LINE}{LINE}".encode())
    assert note == Note("one\n\ntwo\n", (SIGNATURE, SIGNATURE))
    assert note.encode() == f"one\n\ntwo\n\n{LINE}{LINE}".encode()


def test_the_example_of_the_standard_is_read_and_written_as_it_is() -> None:
    example = (
        "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\n"
        "ed \u00e8 subito sera.\n\n"
        "\u2014 quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9o"
        "JKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
    ).encode()
    note = parse_note(example)
    assert note.text.endswith("ed \u00e8 subito sera.\n")
    assert [(each.name, len(each.data)) for each in note.signatures] == [
        ("quasimodo.example/salvatore", 64)
    ]
    assert note.encode() == example


@pytest.mark.parametrize(
    ("note", "says"),
    [
        ("", "no newline at its end"),
        (f"text\n\n{LINE[:-1]}", "no newline at its end"),
        (f"text\n{LINE}", "no empty line before its signatures"),
        ("text\n\n", "no signature"),
        (f"text\n\n{LINE}\n", "no signature"),
        (f"text\r\n\r\n{LINE}", r"a control character, '\r'"),
        (f"te\0xt\n\n{LINE}", r"a control character, '\x00'"),
        (f"te\txt\n\n{LINE}", r"a control character, '\t'"),
        (
            f"text\n\n{LINE}more\n",
            "signature 2: expected an em dash, a name and base64, found 'more'",
        ),
        (
            f"text\n\n-{LINE[1:]}",
            "signature 1: expected an em dash, a name and base64, found '- example.com/a AAAAAQI='",
        ),
        (
            "text\n\n\u2014  AAAAAQI=\n",
            r"signature 1: expected an em dash, a name and base64, found '\u2014  AAAAAQI='",
        ),
        (
            "text\n\n\u2014 a+b AAAAAQI=\n",
            r"signature 1: expected an em dash, a name and base64, found '\u2014 a+b AAAAAQI='",
        ),
        (
            "text\n\n\u2014 a\u00a0b AAAAAQI=\n",
            r"signature 1: expected an em dash, a name and base64, found '\u2014 a\xa0b AAAAAQI='",
        ),
        ("text\n\n\u2014 a \n", "signature 1: no more than a key id"),
        ("text\n\n\u2014 a AAAAAQ==\n", "signature 1: no more than a key id"),
        *(
            (
                f"text\n\n\u2014 a {encoded}\n",
                f"signature 1: expected base64 in its one spelling, found {encoded!r}",
            )
            for encoded in (
                "AAAAAQI", "AAAAAQJ=", "AAAAAQI= ", " AAAAAQI=", "AAAA AQI=", "AAAAAQ-_",
                "AAAAAQI=AAAA",
            )
        ),
    ],
)  # fmt: skip
def test_what_is_no_note_is_refused_and_the_error_says_why(note: str, says: str) -> None:
    with pytest.raises(ProofError) as refused:
        parse_note(note.encode())
    assert str(refused.value) == f"note: {says}"


def test_what_is_not_utf_8_is_refused_with_its_place() -> None:
    for bad in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"):
        with pytest.raises(ProofError, match="note: byte 2 is not UTF-8"):
            parse_note(b"te" + bad + b"\n\n" + LINE.encode())


def test_sixteen_signatures_must_be_read_and_more_than_the_most_are_not() -> None:
    for count in (16, SIGNATURES_MAX):
        assert len(parse_note(f"text\n\n{LINE * count}".encode()).signatures) == count
    with pytest.raises(ProofError, match=f"note: more than {SIGNATURES_MAX} signatures"):
        parse_note(f"text\n\n{LINE * (SIGNATURES_MAX + 1)}".encode())
    with pytest.raises(ProofError, match=f"note: more than {NOTE_BYTES_MAX} bytes"):
        parse_note(b"a" * (NOTE_BYTES_MAX - 30) + b"\n\n" + LINE.encode() * 2)


def test_lines_alone_are_read_as_those_of_a_note() -> None:
    assert parse_signatures(LINE, "answer") == (SIGNATURE,)
    for lines, says in (("", "no signature"), (LINE[:-1], "no newline at its end")):
        with pytest.raises(ProofError, match=f"answer: {says}"):
            parse_signatures(lines, "answer")


@pytest.mark.parametrize("name", ["a", "example.com/a", "a\u200bb", "\u00e9", "\u2014", "oid/1.2"])
def test_names_that_a_line_can_have(name: str) -> None:
    assert is_key_name(name)
    line = NoteSignature(name, b"\0\0\0\1", b"s")
    assert parse_signatures(line.encode().decode(), "x") == (line,)


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\nb", "a\u0085b", "\u1680", "\u2029", "\u3000", "\x1f", "\udc00"]
)
def test_names_that_no_line_can_have(name: str) -> None:
    assert not is_key_name(name)
    with pytest.raises(InvalidInputError):
        NoteSignature(name, b"\0\0\0\1", b"s").encode()


@pytest.mark.parametrize(
    "note",
    [
        Note("text", (SIGNATURE,)), Note("", (SIGNATURE,)), Note("a\r\n", (SIGNATURE,)),
        Note("text\n", ()), Note("text\n", (SIGNATURE,) * (SIGNATURES_MAX + 1)),
        Note("\udc00\n", (SIGNATURE,)), Note("a" * NOTE_BYTES_MAX + "\n", (SIGNATURE,)),
        Note("text\n", (NoteSignature("a", b"123", b"s"),)),
        Note("text\n", (NoteSignature("a", b"1234", b""),)),
    ],
)  # fmt: skip
def test_what_would_not_be_read_as_this_note_is_not_written(note: Note) -> None:
    with pytest.raises(InvalidInputError):
        note.encode()


names = st.text(min_size=1, max_size=20).filter(is_key_name)
lines = st.builds(
    NoteSignature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)
)
texts = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n"))


@given(texts, st.lists(lines, min_size=1, max_size=4))
def test_every_note_that_is_written_is_read_as_it_was(
    text: str, signed: list[NoteSignature]
) -> None:
    note = Note(f"{text}\n", tuple(signed))
    assert parse_note(note.encode()) == note


@given(st.data())
def test_every_truncation_and_every_changed_byte_is_another_note_or_none(
    data: st.DataObject,
) -> None:
    whole = f"text\n\nof two\n\n{LINE}{LINE}".encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytes((whole[at] ^ 1 << data.draw(st.integers(0, 7)),))
    for changed in (whole[:at], whole[:at] + flipped + whole[at + 1 :]):
        try:
            assert parse_note(changed).encode() == changed
        except ProofError:
            continue

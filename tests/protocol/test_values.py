"""What goes over the network, as values: each way and back, and what is refused."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import transit
from transit import errors
from transit.protocol import fields, lines, messages, offsets, paths, problems
from transit.protocol.events import control_event, data_event

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)


@given(NAMES)
def test_a_name_comes_back_from_its_path(name: str) -> None:
    path = paths.stream_path(name)
    assert path.isascii()
    assert paths.decode_path(path.encode()) == paths.STREAMS + name


@pytest.mark.parametrize("raw", [b"%ff", b"%fe", b"\xff", b"%", b"%g0", b"%4", b"%ed%a0%80", b"a%"])
def test_a_path_that_is_no_text_names_nothing(raw: bytes) -> None:
    with pytest.raises(transit.InvalidInputError):
        paths.decode_path(raw)


def test_two_spellings_of_a_letter_are_two_names_and_an_escaped_slash_is_a_slash() -> None:
    composed, apart = paths.decode_path(b"%C3%A9"), paths.decode_path(b"e%CC%81")
    assert composed != apart
    assert paths.decode_path(b"a%2Fb") == "a/b"
    assert paths.decode_path(b"%2525") == "%25"


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/", "..", "a/../b", ".", "./a", "$lineage"])
def test_a_segment_that_clients_resolve_away_is_refused(name: str) -> None:
    if name:
        with pytest.raises(transit.InvalidInputError):
            paths.check_segments(name)


@given(st.integers(0, 10**20 - 1), st.integers(0, 10**20 - 1))
def test_tokens_order_as_offsets_do(one: int, other: int) -> None:
    tokens = offsets.encode_offset(one), offsets.encode_offset(other)
    assert (tokens[0] < tokens[1]) == (one < other)
    assert offsets.decode_offset(tokens[0]) == one


@given(st.lists(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)))  # fmt: skip
def test_an_array_is_as_many_messages_and_joins_to_the_same_values(values: list[object]) -> None:
    body = json.dumps(values).encode()
    split = messages.json_messages(b" \n" + body + b"\t")
    assert [json.loads(each) for each in split] == values
    assert json.loads(messages.json_body(split)) == values


def test_only_one_level_of_an_array_is_taken_apart() -> None:
    assert messages.json_messages(b"[[1,2],[3]]") == [b"[1,2]", b"[3]"]
    assert messages.json_messages(b"[]") == []
    assert messages.json_messages(b'{"a": [1, 2]}') == [b'{"a": [1, 2]}']


@pytest.mark.parametrize(
    "body",
    [
        b"", b"nul", b"NaN", b"[1,]", b'"a', b'"\x01"', b'"\xff"', b"\xef\xbb\xbf1", b"1 2",
        b"[1]]", b"[" * 100_000, b"{" * 100_000, b'"\xed\xa0\x80"', b"Infinity", b"'a'",
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(transit.InvalidInputError):
        messages.json_messages(body)


def test_numbers_are_kept_as_they_were_written() -> None:
    body = b"[1e400, 0.10, 123456789012345678901234567890]"
    assert messages.json_messages(body) == [b"1e400", b"0.10", b"123456789012345678901234567890"]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01t01:00:00+01:00", 0),
        ("2026-11-28T12:00:00.123456789Z", 1_795_867_200_123_456_789),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    assert fields.parse_time(text, "time") == nanoseconds


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-28", "2026-13-01T00:00:00Z", "2026-11-28T12:00:00", "1", "٢026"]
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(transit.InvalidInputError):
        fields.parse_time(text, "time")


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_that_is_shown_is_read_back_to_the_millisecond(milliseconds: int) -> None:
    shown = fields.show_time(milliseconds * 1_000_000)
    assert fields.parse_time(shown, "time") == milliseconds * 1_000_000


@pytest.mark.parametrize("text", ["+1", "01", "1.0", "1e3", "-1", "", " 1", "1" * 40, "٣"])
def test_a_number_that_is_not_plain_is_refused(text: str) -> None:
    with pytest.raises(transit.InvalidInputError):
        fields.ttl_of({"stream-ttl": text})


@pytest.mark.parametrize(
    "text", ["text", "a/b/c", "/", "a b/c", "text/plain\x00", "a/" + "b" * 300]
)
def test_a_content_type_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(transit.InvalidInputError):
        fields.content_type_of({"content-type": text})


CLASSES = [
    value for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.TransitError)
]  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_comes_back_as_the_class_it_was(kind: type[errors.TransitError]) -> None:
    error = kind.__new__(kind, "what happened")
    error.args = ("what happened",)
    error.offset = 4  # type: ignore[attr-defined]
    problem = problems.problem_of(error, "id-1")
    assert 400 <= problem.status < 600
    assert problem.exit_code == kind.exit_code
    back = problems.error_of(problem.encode())
    assert type(back) is kind
    assert (str(back), vars(back).get("offset")) == ("what happened", 4)
    assert type(pickle.loads(pickle.dumps(back))) is kind


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"error": "SystemExit"}', b'{"error": "open"}', b'{"error": 4}', b"\xff"],
)
def test_a_document_that_names_no_error_of_ours_makes_none(document: bytes) -> None:
    assert problems.error_of(document) is None


@given(
    st.binary(max_size=60), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)
)
def test_a_record_comes_back_from_its_line(payload: bytes, headers: dict[str, str]) -> None:
    record = transit.Record(7, -5, payload, headers, transit.replay.Source("s", 2, "ann"), 9)
    line = lines.encode_record("s", record)
    assert line.count(b"\n") == 1
    back = lines.decode_record(line)
    assert (back.offset, back.timestamp, back.written, back.writer) == (7, -5, 9, "ann")
    assert (back.data, dict(back.headers)) == (payload, headers)


@given(st.lists(st.text(max_size=20), max_size=4))
def test_events_of_text_hold_no_line_of_their_own(texts: list[str]) -> None:
    event = data_event([each.encode() for each in texts], json=False, text=True)
    whole = event + control_event("0", "1", "i", up_to_date=True, closed=False)
    assert [line.partition(b":")[0] for line in whole.split(b"\n") if line].count(b"event") == 2
    assert b"\r" not in event

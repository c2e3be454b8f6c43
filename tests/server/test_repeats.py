"""What is taken for the head before is what a parser finds to be the same."""

from __future__ import annotations

from typing import NamedTuple

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from transit.server.asgi import Head
from transit.server.repeats import BYTES_MAX, Repeats, repeats_of

POST = (
    b"POST /v1/stream/a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n"
    b"Content-Type: text/plain\r\n\r\n"
)
CHUNKED = POST.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked")
GET = b"GET /v1/stream/a?offset=-1 HTTP/1.1\r\nHost: h\r\n\r\n"


class Parsed(NamedTuple):
    """One request, as a parser finds it; `is_whole`: and nothing else."""

    method: bytes
    url: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    is_whole: bool


class Parsing:
    """Takes what a parser tells."""

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.begun = self.ended = 0

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1


def parse(data: bytes) -> Parsed | None:
    """What a parser finds in `data`; None for an error."""
    found = Parsing()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    whole = found.begun == found.ended == 1
    return Parsed(parser.get_method(), found.url, found.fields, found.body, whole)


def known(data: bytes) -> Repeats:
    """What knows requests like `data`."""
    parsed = parse(data)
    assert parsed is not None
    assert parsed.is_whole
    head = Head({"method": parsed.method.decode(), "headers": parsed.fields, "path": "/"})
    found = repeats_of(head, parsed.body, data)
    assert found is not None
    return found


def check(repeats: Repeats, before: bytes, data: bytes) -> bool:
    """Whether `data` is taken for a repeat of `before`; then a parser must agree."""
    body = repeats.body_of(data)
    if body is None:
        return False
    first, parsed = parse(before), parse(data)
    assert first is not None
    assert parsed is not None
    assert parsed.is_whole
    assert parsed.body == body
    assert (parsed.method, parsed.url) == (first.method, first.url)
    others = [
        [each for each in one.fields if each[0] != b"content-length"] for one in (first, parsed)
    ]
    assert others[0] == others[1]
    lengths = [value.decode() for name, value in parsed.fields if name == b"content-length"]
    assert lengths == [text for text in [repeats.head.headers.get("content-length")] if text]
    return True


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 9, 10, 11, 99, 100, 1), (5000, 3, 5000)])
def test_bodies_of_any_length_are_taken_for_repeats(sizes: tuple[int, ...]) -> None:
    first = POST % sizes[0] + b"x" * sizes[0]
    repeats = known(first)
    for size in sizes:
        assert check(repeats, first, POST % size + b"y" * size)


def test_a_request_without_a_body_is_taken_for_a_repeat() -> None:
    assert check(known(GET), GET, GET)
    assert not check(known(GET), GET, GET + GET)


@given(
    st.sampled_from([POST % 3 + b"abc", POST % 12 + b"abcdefghijkl", GET]),
    st.lists(st.tuples(st.integers(0, 140), st.integers(0, 3), st.binary(max_size=3)), max_size=3),
    st.binary(max_size=4),
)
@example(POST % 3 + b"abc", [(55, 1, b"4")], b"")
@example(POST % 3 + b"abc", [(55, 1, b"1")], b"")
@example(POST % 3 + b"abc", [(55, 1, b"+3")], b"")
@example(POST % 3 + b"abc", [(55, 1, b"03")], b"")
@example(POST % 3 + b"abc", [(55, 1, b"3, 3")], b"")
@example(POST % 3 + b"abc", [(55, 0, b"1")], b"")
def test_what_is_taken_for_a_repeat_is_one_for_a_parser_too(
    before: bytes, changes: list[tuple[int, int, bytes]], after: bytes
) -> None:
    data = before
    for place, removed, put in changes:
        data = data[:place] + put + data[place + removed :]
    check(known(before), before, data + after)


@given(st.sampled_from([POST % 3 + b"abc", GET]), st.integers(0, 200))
def test_a_part_of_a_request_is_no_repeat(before: bytes, stop: int) -> None:
    data = before[:stop]
    assert check(known(before), before, data) is (data == before)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (POST % 1 + b"xyz", b"x"),
        (POST.replace(b"Content-Length:", b"Content-Length:  ") % 1 + b"x", b"x"),
        (CHUNKED + b"1\r\nx\r\n0\r\n\r\n", b"x"),
        (CHUNKED + b"0\r\n\r\n", b""),
        (POST.replace(b"h\r\n", b"h" * BYTES_MAX + b"\r\n") % 1 + b"x", b"x"),
    ],
)  # fmt: skip
def test_a_head_of_another_kind_is_not_kept(data: bytes, body: bytes) -> None:
    parsed = parse(data)
    fields = [] if parsed is None else parsed.fields
    assert repeats_of(Head({"method": "POST", "headers": fields, "path": "/"}), body, data) is None

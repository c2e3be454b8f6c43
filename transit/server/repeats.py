"""A request whose head is that of the request before it, and which therefore need not be parsed.

A client that appends sends the same head again and again, but for the length of the body. Where a
read begins between two requests, and its bytes are the head before, maybe with another number in
Content-Length, and then exactly such a body, a parser would find in it what it found before. So it
is not asked, and what followed from the head still holds. Anything else is the parser's: other
fields, a body in parts, two requests in one read.
"""

from __future__ import annotations

import re
from typing import Final

from transit.server.asgi import Head

_LENGTH: Final = re.compile(rb"\r\ncontent-length: ([1-9][0-9]{0,9})\r\n", re.IGNORECASE)
_NUMBER: Final = re.compile(rb"[1-9][0-9]{0,9}")
BYTES_MAX: Final = 4096
"""Of the largest head that is kept: there may be one for each connection."""


class Repeats:
    """A head that was parsed, as `head`, and its bytes; those around the number of its length."""

    __slots__ = ("_after", "_before", "_size", "_whole", "head")

    def __init__(self, head: Head, whole: bytes, size: int, before: bytes, after: bytes) -> None:
        self.head = head
        self._whole = whole
        self._size = size
        self._before = before
        self._after = after

    def body_of(self, data: bytes) -> bytes | None:
        """The body, where `data` is one whole request with this head; `head` is that request's."""
        whole = self._whole
        if len(data) == self._size and data.startswith(whole):
            return data[len(whole) :]
        return self._of_other_length(data) if self._before else None

    def _of_other_length(self, data: bytes) -> bytes | None:
        before, after = self._before, self._after
        number = _NUMBER.match(data, len(before))
        if number is None or not data.startswith(before):
            return None
        stop = number.end() + len(after)
        if not data.startswith(after, number.end()) or len(data) != stop + int(number[0]):
            return None
        self.head = self.head.of_length(number[0])
        self._whole, self._size = data[:stop], len(data)
        return data[stop:]


def repeats_of(head: Head, body: bytes, data: bytes) -> Repeats | None:
    """What knows requests like the one that `data` is, whole and alone; None for one of no use.

    head, body: its, as they were parsed.
    """
    size = len(data) - len(body)
    whole = data[:size]
    # Its first empty line ends the head: otherwise there is another request in it.
    is_alone = whole.find(b"\r\n\r\n") == size - 4
    if size > BYTES_MAX or not is_alone or "transfer-encoding" in head.headers:
        return None
    number = _LENGTH.search(whole)
    length = head.headers.get("content-length")
    if length is None:
        # Nothing in it is a number that could change.
        return None if body or number else Repeats(head, whole, size, b"", b"")
    if number is None or length != number[1].decode() or int(length) != len(body):
        return None
    return Repeats(head, whole, len(data), whole[: number.start(1)], whole[number.end(1) :])
